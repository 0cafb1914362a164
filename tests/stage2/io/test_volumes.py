"""NRRD and MetaImage files: their own voxels only, with sides and places, or one line."""

import os
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from Stage2.io.grid import distance_of, grid_of
from Stage2.io.volumes import read_volume

VOXELS = np.arange(60, dtype=np.int16).reshape(3, 4, 5)


def write(path: Path, voxels: np.ndarray = VOXELS) -> sitk.Image:
    image = sitk.GetImageFromArray(voxels)
    image.SetSpacing((1.25, 1.5, 7.7))
    image.SetOrigin((10, -20, 30))
    image.SetDirection((0, 1, 0, -1, 0, 0, 0, 0, 1))
    sitk.WriteImage(image, str(path))
    return image


@pytest.mark.parametrize("name", ["a.nrrd", "a.nhdr", "a.mha", "a.mhd", "a.nii", "a.nii.gz", b"\xfc.nrrd", b"\xfc.mha"])
def test_every_format_gives_the_same(tmp_path, name):
    image = write(tmp_path / f"plain{Path(os.fsdecode(name)).suffix}" if isinstance(name, bytes) else tmp_path / name)
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + os.fsencode(name)))
    if isinstance(name, bytes):
        next(tmp_path.iterdir()).rename(path)
    found = read_volume(path)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(found), VOXELS)
    assert distance_of(grid_of(found), grid_of(image)) < 1e-5


def edited(path: Path, *changes: tuple[bytes, bytes]) -> Path:
    content = path.read_bytes()
    for old, new in changes:
        assert old in content
        content = content.replace(old, new)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("name", "change", "line"),
    [
        ("a.mhd", (b"= a.raw", b"= ../secret.raw"), r"takes its voxels from \.\./secret\.raw; expected a file beside"),
        ("a.mhd", (b"= a.raw", b"= /etc/passwd"), "takes its voxels from /etc/passwd; expected a file beside it"),
        ("a.mhd", (b"= a.raw", b"= LIST\nb.raw"), "spreads its voxels over several files"),
        ("a.mhd", (b"= a.raw", b"= s%02d.raw 1 3 1"), "spreads its voxels over several files"),
        ("a.mhd", (b"= a.raw", b"= b.raw"), r"takes its voxels from b\.raw, which is missing"),
        ("a.nhdr", (b"data file: a.raw", b"data file: ../a.raw"), "expected a file beside it"),
        ("a.mha", (b"DimSize = 5 4 3", b"DimSize = 32767 32767 32767"), "voxels by its header; expected up to"),
        ("a.mha", (b"TransformMatrix = 0 -1", b"TransformMatrix = 0 -9"), "are not at right angles"),
        ("a.mha", (b"ElementSpacing = 1.25", b"ElementSpacing = 0"), "voxels of|truncated or damaged"),
        ("a.nrrd", (b"NRRD000", b"NRDR000"), "is truncated or damaged"),
    ],
)  # fmt: skip
def test_a_header_that_lies_is_refused_in_one_line(tmp_path, name, change, line):
    write(tmp_path / name)
    (tmp_path.parent / "secret.raw").write_bytes(bytes(120))
    with pytest.raises(ValueError, match=line) as error:
        read_volume(edited(tmp_path / name, change))
    assert "\n" not in str(error.value) and str(tmp_path / name) in str(error.value)


def test_absent_sides_of_voxels_are_told(tmp_path, caplog):
    write(tmp_path / "a.mha")
    edited(tmp_path / "a.mha", (b"ElementSpacing", b"ElementNothing"))
    assert read_volume(tmp_path / "a.mha").GetSpacing() == (1, 1, 1)
    assert "does not say how large its voxels are; 1 mm is assumed" in caplog.text
