"""A DICOM series is read by position, in units of the scanner; whatever does not fit is named."""

import locale
import os
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from stage2.preparation.drawn_archives import SPACING, draw_abdomen, write_series, write_slice

from Stage2.io.dicom import kept_locale, read_series
from Stage2.io.scans import ScanFile, find_scans

IMAGE = draw_abdomen()[0]


def replace_bytes(path: Path, old: bytes, new: bytes) -> None:
    content = path.read_bytes()
    assert old in content and len(old) == len(new)
    path.write_bytes(content.replace(old, new))


@pytest.mark.parametrize("order", [range(6), [3, 0, 5, 1, 4, 2], range(5, -1, -1)])
def test_slices_are_ordered_by_position_not_by_name(tmp_path, order):
    series = read_series(write_series(tmp_path / "s", IMAGE, order))
    assert np.array_equal(sitk.GetArrayFromImage(series.image), IMAGE)
    assert series.image.GetPixelID() == sitk.sitkInt16
    assert [one.number for one in series.slices] == [1, 2, 3, 4, 5, 6]
    assert series.image.GetSpacing() == SPACING
    assert series.image.GetOrigin() == (-150, -160, -20)
    assert series.image.GetDirection() == (1, 0, 0, 0, 1, 0, 0, 0, 1)


def test_an_oblique_series_lies_where_its_header_says(tmp_path):
    row, column = np.array([0.8, 0.6, 0]), np.array([0, 0, -1.0])
    normal = np.cross(row, column)
    for z in range(4):
        position = np.array([10, 20, 30]) + 8 * (3 - z) * normal  # the last file comes first
        tags = {"_0020_0032": "\\".join(map(str, position)), "_0020_0037": "\\".join(map(str, (*row, *column)))}
        write_slice(tmp_path / f"{z}.dcm", IMAGE[z], 0, z, **tags)
    image = read_series(list(tmp_path.iterdir())).image
    assert np.array_equal(sitk.GetArrayFromImage(image), IMAGE[3::-1])
    np.testing.assert_allclose(image.TransformIndexToPhysicalPoint((0, 0, 3)), [10, 20, 30] + 24 * normal, atol=1e-4)
    np.testing.assert_allclose(np.reshape(image.GetDirection(), (3, 3)).T, [row, column, normal], atol=1e-6)


def write_rescaled(path: Path, voxels: np.ndarray, slope: int, intercept: int, z: int) -> None:
    """MR with a slope: written as CT, of which ITK stores (voxels - intercept) / slope, and then called MR."""
    tags = {"_0008_0060": "CT", "_0028_1053": str(slope), "_0028_1052": str(intercept)}
    write_slice(path, voxels, 8 * z, z, **tags)
    replace_bytes(path, b"1.2.840.10008.5.1.4.1.1.2\0", b"1.2.840.10008.5.1.4.1.1.4\0")


def test_slope_and_intercept_are_applied_slice_by_slice(tmp_path):
    stored = IMAGE[:2].astype(np.int16)
    for z, slope in enumerate((2, 3)):
        write_rescaled(tmp_path / f"{z}.dcm", stored[z] * np.int16(slope) - np.int16(100), slope, -100, z)
    image = read_series(list(tmp_path.iterdir())).image
    assert np.array_equal(sitk.GetArrayFromImage(image), np.stack([stored[0] * 2 - 100, stored[1] * 3 - 100]))


@pytest.mark.parametrize("compressor", ["JPEG", "JPEG2000"])
def test_compressed_slices(tmp_path, compressor):
    paths = write_series(tmp_path / "s", IMAGE, compressor=compressor)
    assert all(path.stat().st_size < 8192 for path in paths)  # that is what the voxels of a plain one take
    assert np.array_equal(sitk.GetArrayFromImage(read_series(paths).image), IMAGE)


def test_a_slice_that_is_there_twice_counts_once(tmp_path, caplog):
    paths = write_series(tmp_path / "s", IMAGE)
    copy = tmp_path / "s" / "copy.dcm"
    copy.write_bytes(paths[2].read_bytes())
    series = read_series([copy, *paths])
    assert np.array_equal(sitk.GetArrayFromImage(series.image), IMAGE)
    assert "repeats the slice of" in caplog.text


def write_with_unknown_syntax(path: Path) -> None:
    """A slice in JPEG 2000 (...4.90) whose header names a syntax that GDCM does not know."""
    write_slice(path, IMAGE[2], SPACING[2] * 2 - 20, 3, compressor="JPEG2000")
    replace_bytes(path, b"1.2.840.10008.1.2.4.90", b"1.2.840.10008.1.2.4.89")


def write_picture(path: Path, image: sitk.Image) -> None:
    with kept_locale():
        sitk.WriteImage(image, str(path))


def test_writing_slices_leaves_the_encoding_of_text_files_alone(tmp_path):
    before = locale.setlocale(locale.LC_ALL)
    read_series(write_series(tmp_path / "s", IMAGE))
    assert locale.setlocale(locale.LC_ALL) == before


DAMAGES = {
    "cut short": (
        lambda s: (s / "2.dcm").write_bytes((s / "2.dcm").read_bytes()[:5000]),
        r"2\.dcm is cut short or damaged; download it again",
    ),
    "an unknown transfer syntax": (
        lambda s: write_with_unknown_syntax(s / "2.dcm"),
        r"2\.dcm cannot be decoded \(transfer syntax 1\.2\.840\.10008\.1\.2\.4\.89\).*decompress it",
    ),
    "no DICOM": (lambda s: (s / "2.dcm").write_text("hello"), r"2\.dcm is no DICOM file"),
    "a missing slice": (
        lambda s: (s / "2.dcm").unlink(),
        r"1 slice\(s\) missing between 1\.dcm and 3\.dcm, 16\.00 mm apart; expected 8\.00 mm",
    ),
    "two missing slices": (
        lambda s: [(s / f"{z}.dcm").unlink() for z in (2, 3)],
        r"2 slice\(s\) missing between 1\.dcm and 4\.dcm",
    ),
    "uneven slices": (
        lambda s: write_slice(s / "2.dcm", IMAGE[2], SPACING[2] * 2 - 17, 3),
        r"slices at uneven distances between .*11\.00 mm apart",
    ),
    "another slice at the same place": (
        lambda s: write_slice(s / "echo.dcm", IMAGE[2] + np.int16(1), SPACING[2] * 2 - 20, 3),
        r"hold different slices at one place \(-4\.00 mm",
    ),
    "another series": (
        lambda s: write_slice(s / "2.dcm", IMAGE[2], SPACING[2] * 2 - 20, 3, _0020_000e="1.2.9"),
        r"holds 2 DICOM series \(5 file\(s\) such as 0\.dcm, 1 file\(s\) such as 2\.dcm\)",
    ),
    "another size": (
        lambda s: write_slice(s / "2.dcm", IMAGE[2][:32], SPACING[2] * 2 - 20, 3),
        r"2\.dcm has rows x columns 32 x 64, but 0\.dcm has 64 x 64",
    ),
    "a scout": (
        lambda s: write_slice(s / "2.dcm", IMAGE[2], SPACING[2] * 2 - 20, 3, _0020_0037="1\\0\\0\\0\\0\\-1"),
        r"2\.dcm has orientation",
    ),
    "a sheared stack": (
        lambda s: [
            write_slice(s / f"{z}.dcm", IMAGE[z], 0, z + 1, _0020_0032=f"-150\\{2 * z}\\{8 * z}") for z in range(6)
        ],
        r"shifted by 10\.0 mm sideways",
    ),
    "several frames": (
        lambda s: write_picture(s / "2.dcm", sitk.GetImageFromArray(IMAGE.astype(np.uint16))),
        r"2\.dcm holds 6 frames; expected one slice a file",
    ),
    "colours": (
        lambda s: write_picture(s / "2.dcm", sitk.Compose(*[sitk.Image(64, 64, sitk.sitkUInt8)] * 3)),
        r"2\.dcm is a picture in RGB",
    ),
    "no position": (
        lambda s: replace_bytes(s / "2.dcm", b"\x20\0\x32\0", b"\x20\0\x33\0"),  # of its tag, (0020,0032)
        r"2\.dcm has no ImagePositionPatient",
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_what_does_not_fit_is_named(tmp_path, name):
    damage, message = DAMAGES[name]
    write_series(tmp_path / "s", IMAGE)
    damage(tmp_path / "s")
    with pytest.raises(ValueError, match=message):
        read_series(sorted((tmp_path / "s").iterdir()))


def write_one(folder: Path, name: str, **changes: object) -> None:
    """A slice by pydicom, with attributes changed, or taken away where they are None."""
    write_slice(folder / name, IMAGE[2], SPACING[2] * 2 - 20, 3)
    found = pydicom.dcmread(folder / name)
    for attribute, value in changes.items():
        if value is None:
            delattr(found, attribute)
        else:
            setattr(found, attribute, value)
    found.save_as(folder / name)


TAGS = {
    "no position": ({"ImagePositionPatient": None}, r"2\.dcm has no ImagePositionPatient"),
    "an empty position": ({"ImagePositionPatient": []}, r"2\.dcm has no ImagePositionPatient"),
    "a short position": ({"ImagePositionPatient": [1, 2]}, r"has ImagePositionPatient '1.*2.*'; expected 3 number"),
    "no orientation": ({"ImageOrientationPatient": None}, r"2\.dcm has no ImageOrientationPatient"),
    "a skewed orientation": (
        {"ImageOrientationPatient": [1, 0, 0, 0.5, 0.5, 0]},
        r"has ImageOrientationPatient 1 x 0 .*; expected two directions at right angles",
    ),
    "no pixel spacing": ({"PixelSpacing": None}, r"2\.dcm has no PixelSpacing"),
    "a pixel spacing of 0": ({"PixelSpacing": [0, 5]}, r"has PixelSpacing 0.0 x 5.0; expected more than 0 mm"),
    "another pixel spacing": ({"PixelSpacing": [5, 4]}, r"2\.dcm has pixel spacing 4 x 5, but 0\.dcm has 5 x 5"),
    "a slope of 0": ({"RescaleSlope": 0, "RescaleIntercept": 0}, r"2\.dcm has RescaleSlope 0"),
    "another frame of reference": ({"FrameOfReferenceUID": "1.2.77"}, r"2\.dcm has FrameOfReferenceUID 1\.2\.77, but"),
    "another unit": ({"RescaleType": "HU"}, r"2\.dcm has RescaleType HU, but 0\.dcm has .*; expected one"),
    "enhanced": ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.4.1"}, r"2\.dcm holds 1 frames; .* convert it to NIfTI"),
}


@pytest.mark.parametrize("name", TAGS)
def test_a_tag_that_places_or_scales_voxels_is_present_and_consistent_or_named(tmp_path, name):
    changes, message = TAGS[name]
    write_series(tmp_path, IMAGE)
    write_one(tmp_path, "2.dcm", **changes)
    for read in (read_series, lambda paths: ScanFile(paths[0].parent).read()):
        with pytest.raises(ValueError, match=message):
            read(sorted(tmp_path.iterdir()))


def test_a_single_slice_is_as_thick_as_its_file_says(tmp_path):
    write_one(tmp_path, "2.dcm", SliceThickness=6.5)
    assert read_series([tmp_path / "2.dcm"]).image.GetSpacing() == (5, 5, 6.5)
    write_one(tmp_path, "2.dcm", SliceThickness=None)
    with pytest.raises(ValueError, match=r"2\.dcm has no SliceThickness"):
        read_series([tmp_path / "2.dcm"])


def test_a_fractional_slope_that_differs_by_slice_gives_real_values(tmp_path):
    write_series(tmp_path, IMAGE)
    for z, path in enumerate(sorted(tmp_path.iterdir())):
        found = pydicom.dcmread(path)
        found.RescaleSlope, found.RescaleIntercept = 0.25 * (z + 1), 0.5
        found.save_as(path)
    expected = IMAGE * (0.25 * np.arange(1, 7))[:, None, None] + 0.5
    np.testing.assert_allclose(sitk.GetArrayFromImage(ScanFile(tmp_path).read()), expected)


def test_files_without_slices_beside_a_series_are_left_out_and_told(tmp_path, caplog):
    write_series(tmp_path, IMAGE)
    uids = {"structures": "481.3", "dose": "481.2", "segmentation": "66.4", "report": "88.11"}
    for what, uid in uids.items():
        write_one(tmp_path, f"{what}.dcm", SOPClassUID=f"1.2.840.10008.5.1.4.1.1.{uid}", SeriesInstanceUID="1.9")
        found = pydicom.dcmread(tmp_path / f"{what}.dcm")
        found.file_meta.MediaStorageSOPClassUID = found.SOPClassUID
        found.save_as(tmp_path / f"{what}.dcm")
    (tmp_path / "notes.txt").write_text("drawn by two readers")
    (scan,) = find_scans(tmp_path)
    assert np.array_equal(sitk.GetArrayFromImage(scan.read()), IMAGE)
    assert all(f"{what}.dcm (" in caplog.text for what in uids) and "notes.txt (no DICOM file)" in caplog.text


def test_a_mask_beside_a_series_is_not_taken_for_the_scan(tmp_path, caplog):
    write_series(tmp_path, IMAGE)
    sitk.WriteImage(sitk.GetImageFromArray(IMAGE), str(tmp_path / "mask.nii.gz"))
    assert find_scans(tmp_path) == [ScanFile(tmp_path)]
    assert "mask.nii.gz lies beside a DICOM series" in caplog.text
    assert np.array_equal(sitk.GetArrayFromImage(ScanFile(tmp_path).read()), IMAGE)


def test_positions_are_taken_and_another_distance_in_the_header_told(tmp_path, caplog):
    write_series(tmp_path, IMAGE)
    for path in tmp_path.iterdir():
        found = pydicom.dcmread(path)
        found.SpacingBetweenSlices = 4
        found.save_as(path)
    assert ScanFile(tmp_path).read().GetSpacing() == (5, 5, 8)
    assert "SpacingBetweenSlices says 4" in caplog.text


def test_names_that_are_not_utf8_and_files_that_cannot_be_read(tmp_path):
    strange = Path(os.fsdecode(os.fsencode(tmp_path) + b"/M\xfcller"))
    strange.mkdir()
    for path in write_series(tmp_path / "s", IMAGE):
        path.rename(strange / path.name)
    (tmp_path / "s").rmdir()
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "1.dcm").write_bytes(bytes(128) + b"DICM" + bytes(64))
    found = find_scans(tmp_path)
    assert [scan.path for scan in found] == sorted([strange, tmp_path / "damaged"])
    assert np.array_equal(sitk.GetArrayFromImage(ScanFile(strange).read()), IMAGE)
    with pytest.raises(ValueError, match=r"1\.dcm holds no pixels"):
        ScanFile(tmp_path / "damaged").read()
