"""The phantom cohort: same seed same files, plausible anatomy and contrast, folders that are whole or not there."""

import hashlib
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import SimpleITK as sitk

from Stage2.datasets.catalog import get_dataset
from Stage2.phantom import folder as phantom
from Stage2.phantom.folder import Part, make_part, make_scan
from Stage2.phantom.geometry import Frame, ellipsoid, place_subject, slice_positions, smooth_noise
from Stage2.phantom.radiographs import draw_radiograph

SHARED = Path(__file__).resolve().parents[4] / "shared"
SIZE = 128
KINDS = {"mr": "CHAOST2", "ct": "SABS"}
LABELS = {
    "mr": {"liver": 1, "right": 2, "left": 3, "spleen": 4},
    "ct": {"liver": 6, "right": 2, "left": 3, "spleen": 1},
}


@pytest.fixture(scope="module", params=sorted(KINDS))
def cohort(request: pytest.FixtureRequest) -> tuple[str, list[tuple[np.ndarray, np.ndarray]]]:
    return request.param, [make_scan(request.param, seed=3, index=index, size=SIZE) for index in range(6)]


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def centre_of(mask: np.ndarray) -> np.ndarray:
    return np.argwhere(mask).mean(axis=0) / mask.shape


def test_every_subject_has_the_four_organs_in_more_slices_than_parts(cohort):
    kind, scans = cohort
    for _, label in scans:
        for value in LABELS[kind].values():
            slices = np.flatnonzero((label == value).any(axis=(1, 2)))
            assert len(slices) >= 5
            assert (np.diff(slices) == 1).all(), "an organ is one piece along the body"
        assert set(np.unique(label)) <= set(get_dataset(KINDS[kind]).classes.values())


def test_organs_lie_on_the_sides_they_have_in_processed_volumes(cohort):
    kind, scans = cohort
    labels = LABELS[kind]
    for _, label in scans:
        liver, right, left, spleen = (centre_of(label == labels[name]) for name in ("liver", "right", "left", "spleen"))
        assert right[2] < 0.5 < left[2] and liver[2] < 0.5 < spleen[2]  # columns run from the patient's right to left
        assert right[1] < liver[1], "kidneys are nearer the back, which is the first rows"
        assert spleen[0] > left[0] and liver[0] > right[0], "slices run towards the head"


@pytest.mark.skipif(
    not (SHARED / "data" / "chaos_MR_T2_normalized").is_dir(), reason="no real volumes beside the checkout"
)
def test_organ_places_are_near_those_of_real_volumes():
    real = [
        sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
        for path in sorted((SHARED / "data" / "chaos_MR_T2_normalized").glob("label_*.nii.gz"))[:8]
    ]
    ours = [make_scan("mr", seed=0, index=index, size=SIZE)[1] for index in range(8)]
    for value in LABELS["mr"].values():
        expected = np.mean([centre_of(label == value)[1:] for label in real], axis=0)
        found = np.mean([centre_of(label == value)[1:] for label in ours], axis=0)
        assert np.abs(expected - found).max() < 0.1, value


def test_threshold_separates_body_from_air(cohort):
    kind, scans = cohort
    threshold = get_dataset(KINDS[kind]).foreground_threshold
    for image, label in scans:
        corners = np.concatenate([image[:, :6, :6].ravel(), image[:, -6:, -6:].ravel()])
        assert (corners <= threshold).mean() > 0.999
        assert (image[label > 0] > threshold).mean() > 0.97
        assert 0.2 < (image > threshold).mean() < 0.75


def test_organ_intensities_overlap(cohort):
    kind, scans = cohort
    labels = LABELS[kind]
    kidneys = np.concatenate([image[(label == labels["right"]) | (label == labels["left"])] for image, label in scans])
    low, high = np.percentile(kidneys, [5, 95])
    for organ, share in (("spleen", 0.3), ("liver", 0.02)):
        values = np.concatenate([image[label == labels[organ]] for image, label in scans])
        assert ((values > low) & (values < high)).mean() > share
    distractors = [((image > low) & (image < high) & (label == 0)).sum() / (label > 0).sum() for image, label in scans]
    assert min(distractors) > 0.02, "other tissue must be as bright as a kidney somewhere"


def test_intensities_are_in_the_range_of_processed_volumes(cohort):
    kind, scans = cohort
    for image, _ in scans:
        assert image.dtype == np.float32 and np.isfinite(image).all() and image.min() >= 0
        if kind == "ct":
            assert image.max() == 255
        else:
            assert 400 < image.max() < 1600
            assert (image == image.max()).mean() == pytest.approx(0.005, abs=0.001)  # clipped as CHAOS is


def test_subjects_differ(cohort):
    _, scans = cohort
    volumes = [int((label > 0).sum()) for _, label in scans]
    assert len(set(volumes)) == len(volumes)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_same_seed_same_scan_and_other_seed_other_scan(kind):
    image, label = make_scan(kind, seed=5, index=2, size=64)
    again, label_again = make_scan(kind, seed=5, index=2, size=64)
    np.testing.assert_array_equal(image, again)
    np.testing.assert_array_equal(label, label_again)
    other, _ = make_scan(kind, seed=6, index=2, size=64)
    assert other.shape != image.shape or not np.array_equal(other, image)


def test_written_scans_have_the_processed_format(tmp_path):
    assert make_part(tmp_path, Part("mr", count=2, seed=0, size=64), workers=1)
    assert sorted(path.name for path in (tmp_path / "MR").glob("*.nii.gz")) == [
        "image_1.nii.gz", "image_2.nii.gz", "label_1.nii.gz", "label_2.nii.gz",
    ]  # fmt: skip
    image = sitk.ReadImage(str(tmp_path / "MR" / "image_1.nii.gz"))
    label = sitk.ReadImage(str(tmp_path / "MR" / "label_1.nii.gz"))
    assert image.GetPixelID() == sitk.sitkFloat32 and label.GetPixelID() == sitk.sitkUInt8
    assert image.GetSize()[:2] == (64, 64) and phantom.SLICES[0] <= image.GetSize()[2] <= phantom.SLICES[1]
    np.testing.assert_allclose(image.GetSpacing(), (320 / 64, 320 / 64, 7.7), rtol=1e-6)
    np.testing.assert_allclose(image.GetDirection(), (1, 0, 0, 0, -1, 0, 0, 0, 1), atol=1e-6)
    assert label.GetSize() == image.GetSize() and label.GetSpacing() == image.GetSpacing()
    voxels, expected = sitk.GetArrayFromImage(label), make_scan("mr", seed=0, index=0, size=64)[1]
    np.testing.assert_array_equal(voxels, expected)


def test_files_do_not_depend_on_the_number_of_processes(tmp_path):
    for kind in ("ct", "radiographs"):
        part = Part(kind, count=3, seed=1, size=64)
        make_part(tmp_path / "one", part, workers=1)
        make_part(tmp_path / "two", part, workers=2)
        assert digests(tmp_path / "one" / part.folder_name) == digests(tmp_path / "two" / part.folder_name)


def test_rerun_writes_nothing_and_a_lost_file_comes_back_the_same(tmp_path):
    part = Part("radiographs", count=3, seed=1, size=0)
    assert make_part(tmp_path, part, workers=1)
    before = digests(tmp_path / "radiographs")
    assert not make_part(tmp_path, part, workers=1)
    (tmp_path / "radiographs" / "radiograph_0001.jpg").unlink()
    assert make_part(tmp_path, part, workers=1)
    assert digests(tmp_path / "radiographs") == before


def test_other_parameters_are_refused_unless_overwritten(tmp_path):
    make_part(tmp_path, Part("radiographs", count=2, seed=1, size=0), workers=1)
    other = Part("radiographs", count=2, seed=2, size=0)
    with pytest.raises(ValueError, match=r"seed 1 instead of 2.*--overwrite"):
        make_part(tmp_path, other, workers=1)
    assert make_part(tmp_path, other, workers=1, overwrite=True)
    assert json.loads((tmp_path / "radiographs" / "manifest.json").read_text())["seed"] == 2


def test_a_folder_of_other_origin_is_never_overwritten(tmp_path):
    (tmp_path / "MR").mkdir()
    (tmp_path / "MR" / "image_1.nii.gz").write_text("precious")
    with pytest.raises(ValueError, match=r"no manifest\.json"):
        make_part(tmp_path, Part("mr", count=1, seed=0, size=64), workers=1, overwrite=True)
    assert (tmp_path / "MR" / "image_1.nii.gz").read_text() == "precious"


@pytest.mark.parametrize("manifest", ['{"data_set": "CHAOST2"}', '["MR"]', "{}"], ids=["scans", "list", "empty"])
def test_a_folder_with_a_manifest_of_others_is_never_replaced(tmp_path, manifest):
    """Prepared scans have a manifest of the same name."""
    folder = tmp_path / "MR"
    folder.mkdir()
    (folder / "manifest.json").write_text(manifest)
    for overwrite in (False, True):
        with pytest.raises(ValueError, match=r"no manifest\.json of demo data"):
            make_part(tmp_path, Part("mr", count=1, seed=0, size=64), workers=1, overwrite=overwrite)
    assert (folder / "manifest.json").read_text() == manifest


def test_an_interrupted_folder_stays_hidden_and_is_completed(tmp_path, monkeypatch):
    part = Part("radiographs", count=3, seed=4, size=0)
    make_part(tmp_path / "whole", part, workers=1)

    def stop_after_one(folder, part, indices, workers):
        phantom._make_item(folder, part, indices[0])
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(phantom, "_make_items", stop_after_one)
        with pytest.raises(KeyboardInterrupt):
            make_part(tmp_path / "cut", part, workers=1)
    assert not (tmp_path / "cut" / "radiographs").exists()
    kept = tmp_path / "cut" / ".radiographs.partial" / "radiograph_0000.jpg"
    age = kept.stat().st_mtime_ns
    make_part(tmp_path / "cut", part, workers=1)
    assert (tmp_path / "cut" / "radiographs" / "radiograph_0000.jpg").stat().st_mtime_ns == age, "made twice"
    assert digests(tmp_path / "cut" / "radiographs") == digests(tmp_path / "whole" / "radiographs")


def test_radiographs_are_varied_images_of_the_asked_size():
    images = [draw_radiograph(np.random.default_rng([0, index]), 256) for index in range(12)]
    assert all(image.dtype == np.uint8 and min(image.shape) > 150 and max(image.shape) <= 256 for image in images)
    assert all(image.std() > 15 for image in images), "no blank films"
    small = [cv2.resize(image, (16, 16)).astype(float).ravel() for image in images]
    assert np.corrcoef(small)[np.triu_indices(12, 1)].max() < 0.999


@pytest.mark.parametrize("turn_deg, tilt_deg", [(0, 0), (30, 0), (-20, 35)])
def test_ellipsoid_box_holds_the_whole_shape(turn_deg, tilt_deg):
    rng = np.random.default_rng(0)
    frame = place_subject(rng, slice_positions(rng, 20), 64)
    centre, radii = (20.0, -15.0, 10.0), (40.0, 18.0, 30.0)
    box, form = ellipsoid(frame, centre, radii, turn_deg, tilt_deg)
    whole = Frame(frame.x, frame.y, frame.z, frame.axes, (1e3, 1e3, 1e3))
    _, full_form = ellipsoid(whole, centre, radii, turn_deg, tilt_deg)
    assert (form < 1).sum() == (full_form < 1).sum() > 100
    np.testing.assert_array_equal(form, full_form[box])


def test_ellipsoid_volume_is_that_of_the_formula():
    z, y, x = np.meshgrid(*[np.arange(-60, 61, 2, dtype=np.float32)] * 3, indexing="ij")
    axis = np.arange(-60, 61, 2, dtype=np.float32)
    _, form = ellipsoid(Frame(x, y, z, (axis, axis, axis), (0, 0, 0)), (0, 0, 0), (50, 30, 20), 25, -15)
    assert (form < 1).sum() * 8 == pytest.approx(4 / 3 * np.pi * 50 * 30 * 20, rel=0.02)


def test_smooth_noise_is_smooth_and_of_about_unit_variance():
    field = smooth_noise(np.random.default_rng(0), (10, 64, 64), (10, 16, 16))
    assert 0.5 < field.std() < 1.2
    assert np.abs(np.diff(field, axis=2)).mean() < 0.4 * field.std()
    assert smooth_noise(np.random.default_rng(0), (1, 8, 8), (3, 2, 2)).shape == (1, 8, 8)
