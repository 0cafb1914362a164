"""A processed folder gains superpixels, masks and class maps: whole, resumable, with clear errors."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from Stage2.datasets.catalog import get_dataset
from Stage2.io.nifti import read_header
from Stage2.io.volumes import read_volume
from Stage2.preparation.steps import superpixels as folder_module
from Stage2.preparation.steps.pseudo_labels import pseudo_label_volume
from Stage2.preparation.steps.superpixels import prepare_folder

MR = get_dataset("CHAOST2")
GEOMETRY = {"spacing": (1.25, 1.25, 7.7), "origin": (-190.5, 200.25, -77.0), "direction": (1, 0, 0, 0, -1, 0, 0, 0, 1)}
PRODUCTS = ["classmap_1.json", "classmap_100.json", "fgmask_1.nii.gz", "fgmask_10.nii.gz", "fgmask_2.nii.gz"]
PRODUCTS += [f"superpix-MIDDLE_{scan_id}.nii.gz" for scan_id in ("1", "10", "2")]


def save(path: Path, voxels: np.ndarray) -> None:
    image = sitk.GetImageFromArray(voxels)
    image.SetSpacing(GEOMETRY["spacing"])
    image.SetOrigin(GEOMETRY["origin"])
    image.SetDirection(GEOMETRY["direction"])
    sitk.WriteImage(image, str(path), useCompression=True)


def scan_voxels(seed: int, size: int = 256) -> tuple[np.ndarray, np.ndarray]:
    """A bright square of two halves in noise, and a blank slice; its label: liver, and 50 pixels of spleen."""
    image = np.random.default_rng(seed).normal(10, 3, (2, size, size)).clip(0, 40)
    image[0, 60:180, 60:120] += 200
    image[0, 60:180, 120 : 180 + seed] += 400
    label = np.zeros(image.shape, dtype=np.uint8)
    label[0, 80:100, 80:100] = 1
    label[0, 150:155, 150:160] = 4
    return image.astype(np.float32), label


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    folder = tmp_path / "a cohort"
    folder.mkdir()
    for scan_id in ("1", "2", "10"):
        image, label = scan_voxels(int(scan_id))
        save(folder / f"image_{scan_id}.nii.gz", image)
        save(folder / f"label_{scan_id}.nii.gz", label)
    return folder


def stamps(folder: Path) -> dict[str, tuple[int, int]]:
    return {path.name: (path.lstat().st_ino, path.lstat().st_mtime_ns) for path in folder.iterdir()}


def make_newer(path: Path) -> None:
    later = path.stat().st_mtime_ns + 10**12
    os.utime(path, ns=(later, later))


def test_products_hold_the_pseudo_labels_on_the_grid_of_the_image(cohort):
    summary = prepare_folder(cohort, MR)
    assert (summary.scans, summary.made, summary.class_maps) == (3, 3, "made")
    assert sorted(path.name for path in cohort.iterdir() if path.name[:5] not in ("image", "label")) == PRODUCTS
    image = read_volume(cohort / "image_10.nii.gz")
    numbers, masks = pseudo_label_volume(sitk.GetArrayFromImage(image), MR.foreground_threshold)
    assert numbers.max() >= 2 and not numbers[1].any()
    for name, expected, pixel_type in (
        ("superpix-MIDDLE_10.nii.gz", numbers, sitk.sitkInt32),
        ("fgmask_10.nii.gz", masks, sitk.sitkUInt8),
    ):
        product = read_volume(cohort / name)
        assert np.array_equal(sitk.GetArrayFromImage(product), expected)
        assert product.GetPixelID() == pixel_type
        for of in (sitk.Image.GetSpacing, sitk.Image.GetOrigin, sitk.Image.GetDirection):
            assert of(product) == of(image)


def test_class_maps(cohort):
    prepare_folder(cohort, MR)
    one = json.loads((cohort / "classmap_1.json").read_text())
    hundred = json.loads((cohort / "classmap_100.json").read_text())
    assert list(one) == list(hundred) == list(MR.classes)
    assert list(one["LIVER"]) == ["1", "2", "10"]
    assert one["BG"]["2"] == hundred["BG"]["2"] == [0, 1]
    assert one["LIVER"]["2"] == hundred["LIVER"]["2"] == [0]
    assert one["SPLEEN"]["2"] == [0] and hundred["SPLEEN"]["2"] == []
    assert one["RK"] == {"1": [], "2": [], "10": []}


def test_a_second_run_touches_nothing(cohort):
    prepare_folder(cohort, MR)
    before = stamps(cohort)
    summary = prepare_folder(cohort, MR)
    assert (summary.made, summary.class_maps) == (0, "kept")
    assert stamps(cohort) == before


def test_only_what_is_missing_or_outdated_is_made(cohort):
    prepare_folder(cohort, MR)
    before = stamps(cohort)
    (cohort / "superpix-MIDDLE_1.nii.gz").unlink()
    make_newer(cohort / "image_10.nii.gz")
    assert prepare_folder(cohort, MR).made == 2
    after = stamps(cohort)
    changed = {name for name in PRODUCTS if after[name] != before[name]}
    assert changed == {f"{kind}_{scan}.nii.gz" for kind in ("fgmask", "superpix-MIDDLE") for scan in ("1", "10")}


def test_class_maps_follow_the_labels(cohort):
    prepare_folder(cohort, MR)
    save(cohort / "label_2.nii.gz", np.full((2, 256, 256), 2, np.uint8))
    make_newer(cohort / "label_2.nii.gz")
    summary = prepare_folder(cohort, MR)
    assert (summary.made, summary.class_maps) == (0, "made")
    assert json.loads((cohort / "classmap_100.json").read_text())["RK"]["2"] == [0, 1]


def test_another_threshold_makes_superpixels_anew(cohort):
    prepare_folder(cohort, MR)
    assert prepare_folder(cohort, get_dataset("SABS")).made == 3
    assert list(json.loads((cohort / "classmap_1.json").read_text())) == list(get_dataset("SABS").classes)


def test_superpixels_of_other_programs_are_kept_unless_forced(cohort, caplog):
    foreign = np.ones((2, 256, 256), np.int16)
    save(cohort / "superpix-MIDDLE_2.nii.gz", foreign)
    assert prepare_folder(cohort, MR).made == 2
    assert "superpix-MIDDLE_2.nii.gz was not made by this command and is kept" in caplog.text
    assert np.array_equal(sitk.GetArrayFromImage(read_volume(cohort / "superpix-MIDDLE_2.nii.gz")), foreign)
    assert prepare_folder(cohort, MR, force=True).made == 3
    assert sitk.GetArrayFromImage(read_volume(cohort / "superpix-MIDDLE_2.nii.gz")).max() > 1


def test_the_number_of_processes_does_not_matter(cohort, tmp_path):
    prepare_folder(cohort, MR, out=tmp_path / "one", workers=1)
    prepare_folder(cohort, MR, out=tmp_path / "three", workers=3)
    for name in PRODUCTS:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "three" / name).read_bytes(), name


def test_an_error_in_a_process_ends_the_run(cohort):
    image, _ = scan_voxels(2)
    image[0, 0, 0] = np.nan
    save(cohort / "image_2.nii.gz", image)
    with pytest.raises(ValueError, match=r"image_2\.nii\.gz has 1 voxel\(s\) that are not finite"):
        prepare_folder(cohort, MR, workers=2)
    assert not list(cohort.glob("classmap*")) and not list(cohort.glob(".*"))


def test_another_folder_gets_links_and_the_source_stays_as_it_is(cohort, tmp_path):
    before = stamps(cohort)
    out = tmp_path / "new" / "out"
    prepare_folder(cohort, MR, out=out)
    assert stamps(cohort) == before
    assert (out / "image_10.nii.gz").readlink() == cohort.resolve() / "image_10.nii.gz"
    assert (out / "label_1.nii.gz").is_symlink()
    assert {path.name for path in out.iterdir()} == {*PRODUCTS, *before}
    assert prepare_folder(cohort, MR, out=out).made == 0
    make_newer(cohort / "image_2.nii.gz")
    assert prepare_folder(cohort, MR, out=out).made == 1


def test_another_folder_takes_what_is_there(cohort, tmp_path):
    prepare_folder(cohort, MR)
    out = tmp_path / "out"
    assert prepare_folder(cohort, MR, out=out) == (3, 0, "kept")
    assert {path.name for path in out.iterdir()} == {path.name for path in cohort.iterdir()}
    assert all(path.is_symlink() for path in out.iterdir())
    assert prepare_folder(cohort, MR, out=out) == (3, 0, "kept")
    before = stamps(cohort)
    make_newer(cohort / "image_2.nii.gz")
    del before["image_2.nii.gz"]
    assert prepare_folder(cohort, MR, out=out).made == 1
    assert not (out / "superpix-MIDDLE_2.nii.gz").is_symlink() and before.items() <= stamps(cohort).items()
    assert prepare_folder(cohort, MR, out=tmp_path / "other", scale="SMALL").made == 3
    assert prepare_folder(cohort, MR, out=tmp_path / "anew", force=True).made == 3


def test_files_are_copied_where_links_are_impossible(cohort, tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError("no links here")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    prepare_folder(cohort, MR, out=tmp_path / "out")
    copy = tmp_path / "out" / "image_1.nii.gz"
    assert not copy.is_symlink() and copy.read_bytes() == (cohort / "image_1.nii.gz").read_bytes()
    assert prepare_folder(cohort, MR, out=tmp_path / "out").made == 0


@pytest.mark.parametrize("name", ["image_1.nii.gz", "image_7.nii.gz"])
def test_scans_of_two_cohorts_are_not_mixed(cohort, tmp_path, name):
    out = tmp_path / "out"
    out.mkdir()
    save(out / name, scan_voxels(5)[0])
    with pytest.raises(ValueError, match=f"already holds {name}"):
        prepare_folder(cohort, MR, out=out)
    assert [path.name for path in out.iterdir()] == [name]


def test_without_labels_class_maps_are_skipped(cohort):
    for path in cohort.glob("label_*"):
        path.unlink()
    assert prepare_folder(cohort, MR).class_maps == "skipped"
    assert not list(cohort.glob("classmap*"))


def test_slices_of_257_pixels_are_kept_as_they_are(tmp_path):
    image, label = scan_voxels(0, size=257)
    save(tmp_path / "image_0.nii.gz", image)
    save(tmp_path / "label_0.nii.gz", label)
    prepare_folder(tmp_path, get_dataset("SABS"))
    assert read_header(tmp_path / "superpix-MIDDLE_0.nii.gz").size == (2, 257, 257)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


DAMAGES = {
    "no images": (lambda f: [path.unlink() for path in f.glob("image_*")], r"no image_<id>\.nii\.gz"),
    "a missing label": (lambda f: (f / "label_2.nii.gz").unlink(), r"lacks label_2\.nii\.gz"),
    "a label of another size": (
        lambda f: save(f / "label_2.nii.gz", np.zeros((3, 256, 256), np.uint8)),
        r"label_2.* 256 x 256 x 3 .* 256 x 256 x 2;",
    ),
    "small slices": (lambda f: save(f / "image_2.nii.gz", np.zeros((2, 192, 256))), r"image_2.*192 x 256.*256 x 256"),
    "slices along the first axis": (
        lambda f: save(f / "image_2.nii.gz", np.zeros((256, 256, 30))),
        "image_2.*30 x 256 x 256 voxels, with its slices along the first axis",
    ),
    "a label with another spacing": (
        lambda f: sitk.WriteImage(sitk.GetImageFromArray(scan_voxels(2)[1]), str(f / "label_2.nii.gz")),
        "label_2.*lies elsewhere than .*image_2.*voxels of 1 x 1 x 1 mm against .* 1.25 x 1.25 x 7.7 mm",
    ),
    "an infinite value": (lambda f: save(f / "image_2.nii.gz", np.full((2, 256, 256), np.inf)), "image_2.*not finite"),
    "a missing number": (
        lambda f: save(f / "image_2.nii.gz", np.full((2, 256, 256), np.nan, np.float32)),
        "image_2.*131072 voxel.*not finite",
    ),
    "a truncated image": (lambda f: truncate(f / "image_2.nii.gz"), r"image_2.*truncated or damaged"),
    "a truncated label": (lambda f: truncate(f / "label_2.nii.gz"), r"label_2.*truncated or damaged"),
    "not an image": (lambda f: (f / "image_2.nii.gz").write_text("hello"), r"image_2.*is no NIfTI file"),
    "an unknown class": (
        lambda f: save(f / "label_2.nii.gz", np.full((2, 256, 256), 9, np.uint8)),
        r"label_2.*\[9\].*SPLEEN",
    ),
    "a 2D image": (
        lambda f: sitk.WriteImage(sitk.Image(256, 256, sitk.sitkUInt8), str(f / "image_2.nii.gz")),
        "image_2.*2 dim",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_folders_are_refused_in_one_sentence(cohort, damage):
    spoil, message = DAMAGES[damage]
    spoil(cohort)
    with pytest.raises((ValueError, FileNotFoundError), match=message) as caught:
        prepare_folder(cohort, MR)
    assert "\n" not in str(caught.value)
    assert not list(cohort.glob("classmap*")) and not list(cohort.glob(".*"))


def test_a_read_only_folder_needs_another_to_write_to(cohort, monkeypatch):
    monkeypatch.setattr(folder_module.os, "access", lambda *_: False)
    with pytest.raises(PermissionError, match="--out"):
        prepare_folder(cohort, MR)


@pytest.mark.parametrize(("setting", "message"), [({"scale": "LARGE"}, "MIDDLE, SMALL"), ({"workers": 0}, "1 or more")])
def test_wrong_settings_are_refused(cohort, setting, message):
    with pytest.raises(ValueError, match=message):
        prepare_folder(cohort, MR, **setting)
