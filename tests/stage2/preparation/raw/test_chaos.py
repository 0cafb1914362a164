"""CHAOS as downloaded: ground truth meets its slice by number, grey values by the table, rows as published."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image
from stage2.preparation.drawn_archives import GREY, SPACING, write_chaos, write_chaos_scan, write_slice

from Stage2.preparation.raw.chaos import list_chaos_scans
from Stage2.preparation.raw.source import open_source


def read_only_scan(folder: Path) -> tuple[sitk.Image, sitk.Image]:
    (scan,) = list_chaos_scans(open_source(folder))
    return scan.read()


def shuffled(number: int) -> str:
    """File names that say another order than the position."""
    return f"slice{(number * 5) % 7:02d}"


def unnumbered(number: int) -> str:
    return "abcdefg"[number]


@pytest.mark.parametrize("name_of", [None, shuffled, unnumbered])
@pytest.mark.parametrize("reverse", [False, True], ids=["feet first", "head first"])
def test_image_and_label_are_turned_as_published(tmp_path, name_of, reverse):
    image, label = write_chaos_scan(tmp_path / "MR/7", **({} if name_of is None else {"name_of": name_of}))
    if reverse:  # the numbers run from the head to the feet
        for z in range(len(image)):
            path = next(
                path
                for path in (tmp_path / "MR/7/T2SPIR/DICOM_anon").iterdir()
                if path.stem == (name_of(z + 1) if name_of else f"IMG-0004-{z + 1:05d}")
            )
            write_slice(path, image[z], -SPACING[2] * z, z + 1)
        image, label = image[::-1], label[::-1]
    for volume, voxels in zip(read_only_scan(tmp_path), (image, label), strict=True):
        # Rows turned over, with the head last: what dcm2nii makes of it, and the published stacking of the pictures.
        assert np.array_equal(sitk.GetArrayFromImage(volume), voxels[:, ::-1])
        assert volume.GetDirection() == (1, 0, 0, 0, -1, 0, 0, 0, 1)
        assert volume.GetSpacing() == SPACING
        assert volume.GetOrigin()[:2] == (-150, -160 + SPACING[1] * (len(image[0]) - 1))


def test_names_number_the_slices_where_instance_numbers_do_not(tmp_path):
    image, label = write_chaos_scan(tmp_path / "MR/7")
    for z, number in enumerate([4, 1, 5, 2, 6, 3]):
        path = tmp_path / f"MR/7/T2SPIR/DICOM_anon/IMG-0004-{z + 1:05d}.dcm"
        write_slice(path, image[z], SPACING[2] * z, number)
    assert np.array_equal(sitk.GetArrayFromImage(read_only_scan(tmp_path)[1]), label[:, ::-1])


def test_only_annotated_mr_scans_are_taken_by_number(tmp_path):
    write_chaos(tmp_path, (10, 9))
    dicom = tmp_path / "Test_Sets/MR/3/T2SPIR/DICOM_anon"
    dicom.mkdir(parents=True)
    (dicom / "IMG-0004-00001.dcm").write_bytes(b"without ground truth")
    scans = list_chaos_scans(open_source(tmp_path))
    assert [scan.id for scan in scans] == ["9", "10"]
    assert all(len(scan.files) == 12 and all("T2SPIR" in name for name in scan.files) for scan in scans)


def picture(folder: Path, number: int = 3) -> Path:
    return folder / f"MR/7/T2SPIR/Ground/IMG-0004-{number:05d}.png"


def change_picture(folder: Path, change) -> None:
    with Image.open(picture(folder)) as image:
        changed = change(np.asarray(image).copy())
    Image.fromarray(changed).save(picture(folder))


def set_grey(pixels: np.ndarray, value: int) -> np.ndarray:
    pixels[0, :3] = value
    return pixels


def renumber(folder: Path) -> None:
    """Neither names nor instance numbers run along the body."""
    dicom = folder / "MR/7/T2SPIR/DICOM_anon"
    voxels = np.zeros((64, 64), np.int16)
    for z, number in enumerate([4, 1, 5, 2, 6, 3]):
        write_slice(dicom / f"IMG-0004-{z + 1:05d}.dcm", voxels, 8 * number, 1 + (z * 5) % 6)


DAMAGES = {
    "a picture too few": (
        lambda f: picture(f).unlink(),
        r"Ground has 5 pictures for 6 slices \(slices without one: 3; pictures without slice: none\)",
    ),
    "a picture too many": (
        lambda f: picture(f, 9).write_bytes(picture(f).read_bytes()),
        r"7 pictures for 6 slices \(slices without one: none; pictures without slice: 9\)",
    ),
    "a wrong number": (
        lambda f: picture(f).rename(picture(f, 30)),
        r"slices without one: 3; pictures without slice: 30",
    ),
    "one number twice": (
        lambda f: (f / "MR/7/T2SPIR/Ground/IMG-0005-00003.png").write_bytes(picture(f).read_bytes()),
        r"have one number",
    ),
    "no number": (lambda f: picture(f).rename(picture(f).with_name("mask.png")), r"mask\.png has no number"),
    "numbers in no order": (renumber, r"do not say which picture belongs to which slice"),
    "an unknown grey value": (
        partial(change_picture, change=partial(set_grey, value=64)),
        r"00003\.png: grey values \[64\] are no CHAOS MR labels",
    ),
    "another size": (
        partial(change_picture, change=lambda pixels: pixels[:, :48]),
        r"00003\.png has 48 x 64 x 1 voxels .* but its slice has 64 x 64 x 1",
    ),
    "colours": (
        partial(change_picture, change=lambda pixels: np.stack([pixels] * 3, axis=2)),
        r"00003\.png is a picture of mode RGB; expected 8-bit grey values",
    ),
    "a picture cut short": (
        lambda f: picture(f).write_bytes(picture(f).read_bytes()[:100]),
        r"00003\.png cannot be read as a picture",
    ),
    "no pictures": (
        lambda f: [path.unlink() for path in picture(f).parent.iterdir()],
        r"MR/7/T2SPIR/Ground has no \*\.png",
    ),
    "no slices": (
        lambda f: [path.unlink() for path in (f / "MR/7/T2SPIR/DICOM_anon").iterdir()],
        r"MR/7/T2SPIR/DICOM_anon has no \*\.dcm",
    ),
    "coronal slices": (
        lambda f: [
            write_slice(
                path,
                np.zeros((64, 64), np.int16),
                0,
                z + 1,
                _0020_0037="1\\0\\0\\0\\0\\-1",
                _0020_0032=f"0\\{8 * z}\\0",
            )
            for z, path in enumerate(sorted((f / "MR/7/T2SPIR/DICOM_anon").iterdir()))
        ],
        r"the slices are not axial",
    ),
    "a number twice": (lambda f: write_chaos_scan(f / "copy/MR/7"), r"has scan 7 twice"),
    "no number of the scan": (lambda f: (f / "MR/7").rename(f / "MR/seven"), r"'seven' for the scan's number"),
    "nothing annotated": (lambda f: (f / "MR").rename(f / "Test_Sets"), r"no annotated T2-SPIR scan"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_what_does_not_fit_is_named(tmp_path, name):
    damage, message = DAMAGES[name]
    write_chaos_scan(tmp_path / "MR/7")
    damage(tmp_path)
    with pytest.raises(ValueError, match=message):
        read_only_scan(tmp_path)


@pytest.mark.parametrize(
    ("turn", "message"),
    [
        (lambda pixels: pixels, None),
        (np.fliplr, "the liver lies left of the spleen; is the ground truth mirrored?"),
        (np.flipud, "the right kidney lies in front of the liver"),
    ],
)
def test_mirrored_ground_truth_is_told_of(tmp_path, caplog, turn, message):
    _, label = write_chaos_scan(tmp_path / "MR/7")
    for z in range(len(label)):
        Image.fromarray(np.ascontiguousarray(turn(GREY[label[z]]))).save(picture(tmp_path, z + 1))
    read_only_scan(tmp_path)
    assert caplog.text == "" if message is None else message in caplog.text
