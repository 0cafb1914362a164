"""The phantom cohort as downloaded: trees and archives like those of CHAOS, Synapse and ROCO, and readable as they."""

import re
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import SimpleITK as sitk

from Stage1.datasets.roco import prepare_roco
from Stage2.io.nifti import read_voxels
from Stage2.phantom import folder as phantom
from Stage2.phantom.folder import labels_of, make_part
from Stage2.phantom.parts import Part
from Stage2.phantom.raw import draw_raw_ct, draw_raw_mr
from Stage2.preparation.steps.normalise import labels_from_grey_values

SIZE = 64
CHAOS = Part("chaos", count=2, seed=4, size=SIZE)
SABS = Part("sabs", count=1, seed=4, size=SIZE)


@pytest.fixture(scope="module")
def downloads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("downloads")
    for part in (CHAOS, SABS):
        assert make_part(out, part, workers=2)
    return out


def digests(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def subject(part: Part, index: int) -> tuple[np.ndarray, np.ndarray, tuple]:
    """Image, label and spacing that the files must hold, rows to the front."""
    draw = draw_raw_mr if part.kind == "chaos" else draw_raw_ct
    image, tissue, spacing = draw(phantom.random_stream(part.seed, part.kind, index), part.size)
    return image, labels_of(tissue, "mr" if part.kind == "chaos" else "ct"), spacing


@pytest.mark.parametrize(("index", "patient"), [(0, 1), (1, 2)])
def test_chaos_patients_are_dicom_slices_with_numbered_pictures(downloads, index, patient):
    place = downloads / "CHAOS" / "Train_Sets" / "MR" / str(patient) / "T2SPIR"
    image, label, spacing = subject(CHAOS, index)
    headers = []
    for path in sorted((place / "DICOM_anon").glob("*.dcm")):
        one = sitk.ReadImage(str(path), imageIO="GDCMImageIO")
        assert one.GetDirection() == (1, 0, 0, 0, 1, 0, 0, 0, 1)
        headers.append((one.GetOrigin()[2], int(one.GetMetaData("0020|0013")), one))
    numbers_by_name = [number for _, number, _ in headers]
    assert numbers_by_name != sorted(numbers_by_name), "the names are in another order than the slices"
    headers.sort(key=lambda entry: entry[0])
    assert [number for _, number, _ in headers] == list(range(1, len(image) + 1))
    assert np.diff([z for z, _, _ in headers]) == pytest.approx(spacing[2])
    assert {one.GetMetaData("0020|000e") for _, _, one in headers} == {f"1.2.826.0.1.3680043.2.1125.1.{patient}.2"}
    assert len({one.GetMetaData("0008|0018") for _, _, one in headers}) == len(image)
    assert {one.GetMetaData("0008|0016") for _, _, one in headers} == {"1.2.840.10008.5.1.4.1.1.4"}
    assert headers[0][2].GetSpacing()[:2] == pytest.approx(spacing[:2])
    # Rows of a DICOM slice run to the back; published volumes are turned over, as pictures of the ground truth are.
    voxels = np.concatenate([sitk.GetArrayFromImage(one) for _, _, one in headers])
    assert np.array_equal(voxels[:, ::-1], image)

    pictures = sorted((place / "Ground").iterdir())
    assert [re.fullmatch(r"IMG-\d+-(\d{5})\.png", path.name)[1] for path in pictures] == [
        f"{number:05d}" for number in range(1, len(image) + 1)
    ]
    grey = np.stack([cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in pictures])
    assert set(np.unique(grey)) == {0, 63, 126, 189, 252}
    assert np.array_equal(labels_from_grey_values(grey)[:, ::-1], label)


def test_subjects_have_their_own_grids():
    shapes, spacings = zip(*[(image.shape, s) for image, _, s in (subject(CHAOS, n) for n in range(6))], strict=True)
    assert len({shape[1] for shape in shapes}) > 1 and {shape[1] for shape in shapes} <= {64, 72, 80}
    assert len(set(spacings)) == 6 and all(7.5 <= thickness <= 9 for _, _, thickness in spacings)


def test_synapse_scans_are_ct_in_hounsfield_units(downloads):
    place = downloads / "SABS" / "RawData" / "Training"
    assert sorted(path.name for path in place.rglob("*.nii.gz")) == ["img0001.nii.gz", "label0001.nii.gz"]
    image, label, spacing = subject(SABS, 0)
    found = sitk.ReadImage(str(place / "img" / "img0001.nii.gz"))
    assert found.GetSpacing() == pytest.approx(spacing) and found.GetDirection()[4] == -1
    voxels = sitk.GetArrayFromImage(found)
    assert voxels.shape[1:] == (2 * SIZE, 2 * SIZE) and np.array_equal(voxels, image)
    assert voxels.min() < -900 and 250 < voxels.max() <= 3071
    assert np.array_equal(read_voxels(place / "label" / "label0001.nii.gz"), label) and {1, 2, 3, 6} <= set(label.flat)


@pytest.mark.parametrize(
    ("archive", "content"), [("CHAOS/CHAOS_Train_Sets.zip", "Train_Sets"), ("SABS/RawData.zip", "RawData")]
)
def test_archives_hold_the_same_files(downloads, archive, content):
    with zipfile.ZipFile(downloads / archive) as packed:
        members = {name: packed.read(name) for name in packed.namelist()}
    folder = (downloads / archive).parent
    assert members == {f"{content}/{name}": data for name, data in digests(folder / content).items()}


def test_a_lost_patient_or_archive_comes_back_the_same(downloads, tmp_path):
    assert make_part(tmp_path, CHAOS, workers=1)
    made = digests(tmp_path / "CHAOS")
    assert made == digests(downloads / "CHAOS"), "the number of processes does not matter"
    (tmp_path / "CHAOS" / "CHAOS_Train_Sets.zip").unlink()
    (tmp_path / "CHAOS" / "Train_Sets" / "MR" / "2").rename(tmp_path / "CHAOS" / "Train_Sets" / "MR" / ".2.123.partial")
    assert make_part(tmp_path, CHAOS, workers=1) and digests(tmp_path / "CHAOS") == made
    assert not make_part(tmp_path, CHAOS, workers=1)


def test_roco_is_a_nested_tree_with_broken_files(tmp_path):
    assert make_part(tmp_path, Part("roco", count=12, seed=4, size=0), workers=1)
    images = tmp_path / "ROCO" / "train" / "radiology" / "images"
    assert len(list(images.glob("*.jpg"))) == 12
    assert len(list(tmp_path.rglob("*.jpg"))) == 14, "and others, which are not for training on"
    summary = prepare_roco(tmp_path / "ROCO", tmp_path / "flat", workers=1)
    assert (summary.made, summary.unreadable) == (11, 1)
    assert "ROCO_00011.jpg" in (tmp_path / "flat" / "unreadable.txt").read_text()


def test_broken_images_are_truncated_empty_or_no_image():
    whole = cv2.imencode(".jpg", np.zeros((32, 32), np.uint8))[1].tobytes()
    truncated, empty, page = (phantom.broken_image(whole, kind) for kind in range(3))
    assert whole.startswith(truncated) and 0 < len(truncated) < len(whole) and empty == b"" and b"<html>" in page
