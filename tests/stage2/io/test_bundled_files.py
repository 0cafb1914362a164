"""Test files of pydicom and nibabel: each is read with their values and sides, left out, or refused in one line."""

from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from Stage2.io.grid import Grid, distance_of, grid_of
from Stage2.io.nifti import read_header, read_voxels
from Stage2.io.scans import ScanFile, find_scans
from Stage2.preparation.raw.custom import read_custom_scan

DICOM = Path(pydicom.__file__).parent / "data" / "test_files"
NIFTI = Path(nibabel.__file__).parent / "tests" / "data"
READ = {"CT_small.dcm", "MR_small.dcm", "MR_small_bigendian.dcm", "693_J2KI.dcm", "17106", "examples_overlay.dcm"}
JPEG_LS = "MR_small_jpeg_ls_lossless.dcm"  # pydicom needs another package for it

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")


def bundled(folder: Path, pattern: str) -> list[Path]:
    return sorted(path for path in folder.rglob(pattern) if path.is_file())


def outcome(read) -> tuple[sitk.Image | None, str]:
    """The image, or the one line that refuses it."""
    try:
        return read(), ""
    except (ValueError, FileNotFoundError) as error:
        assert "\n" not in str(error) and len(str(error)) > 20
        return None, str(error)


def prepared(paths: list[Path], is_series: bool) -> sitk.Image:
    """As preparation of a data set of one's own reads it."""
    names = {path.name: path for path in paths}
    return read_custom_scan(
        names, image=list(names), label=(), is_series=is_series, classes={}, label_values=None, orientation=None
    )[0]


def same(one: sitk.Image, other: sitk.Image) -> bool:
    arrays = [sitk.GetArrayFromImage(image) for image in (one, other)]
    return np.array_equal(*arrays) and distance_of(grid_of(one), grid_of(other)) == 0


def test_every_dicom_file_of_pydicom(tmp_path):
    read = set()
    for number, path in enumerate(bundled(DICOM, "*")):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / path.name).symlink_to(path)
        image, line = outcome(lambda folder=folder: find_scans(folder)[0].read())
        twin, its_line = outcome(lambda folder=folder: prepared(list(folder.iterdir()), is_series=True))
        if image is None:
            assert twin is None and (its_line == line or "holds no scan; expected" in line)
            continue
        assert same(image, twin)
        expected = pydicom.dcmread(path)
        rows, columns = expected.PixelSpacing
        assert image.GetSpacing() == pytest.approx((columns, rows, expected.SliceThickness)), path
        assert image.GetOrigin() == pytest.approx(list(expected.ImagePositionPatient)), path
        if path.name != JPEG_LS:
            values = pydicom.pixels.apply_modality_lut(expected.pixel_array, expected)
            np.testing.assert_array_equal(sitk.GetArrayFromImage(image)[0], values, err_msg=str(path))
        read.add(path.name)
    assert read >= READ | {JPEG_LS} and len(read) >= 30
    listed = find_scans(tmp_path)  # all below one folder: no file stops the listing
    assert len(listed) > 100


def test_all_dicom_files_in_one_folder_are_refused_in_one_line(tmp_path):
    for number, path in enumerate(bundled(DICOM, "*.dcm")):
        (tmp_path / f"{number}.dcm").symlink_to(path)
    assert outcome(lambda: ScanFile(tmp_path).read())[0] is None


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("liver_1frame.dcm", r"holds no DICOM scan but liver_1frame.dcm (a segmentation)"),
        ("rtdose_1frame.dcm", r"holds no DICOM scan but rtdose_1frame.dcm (a radiotherapy dose)"),
        ("rtstruct.dcm", r"holds no DICOM scan but rtstruct.dcm (radiotherapy structures)"),
        ("image_dfl.dcm", "has no ImagePositionPatient"),
        ("MR_truncated.dcm", "is cut short or damaged"),
        ("examples_ybr_color.dcm", "holds 30 frames; expected one slice a file: convert it to NIfTI"),
        ("empty_charset_LEI.dcm", "holds no pixels"),
    ],
)
def test_what_is_no_scan_is_told(tmp_path, name, line):
    (tmp_path / name).symlink_to(DICOM / name)
    assert line in outcome(lambda: find_scans(tmp_path)[0].read())[1]


def test_every_nifti_file_of_nibabel():
    read = set()
    for path in bundled(NIFTI, "*.nii*"):
        image, line = outcome(lambda path=path: ScanFile(path).read())
        twin, its_line = outcome(lambda path=path: prepared([path], is_series=False))
        assert its_line == line
        if image is None:
            continue
        expected = nibabel.load(path)
        assert same(image, twin)
        np.testing.assert_array_equal(sitk.GetArrayFromImage(image), np.asanyarray(expected.dataobj).T)
        np.testing.assert_array_equal(read_voxels(path), np.asanyarray(expected.dataobj).T)
        assert image.GetSpacing() == pytest.approx(expected.header.get_zooms())
        for grid in (grid_of(image), read_header(path).grid):
            assert distance_of(grid, Grid(grid.size, expected.affine)) < 1e-4
        read.add(path.name)
    assert read == {"anatomical.nii", "reoriented_anat_moved.nii", "standard.nii.gz"}
