"""NRRD and MetaImage files: their own voxels only, with sides and places, or one line."""

import os
import struct
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from Stage2.io.grid import distance_of, grid_of
from Stage2.io.volumes import read_volume, write_volume

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
        ("a.mha", (b"Offset = 10", b"Offset = nan"), "has offset nan -20 30; expected numbers: correct its header"),
        ("a.mha", (b"ElementSpacing = 1.25", b"ElementSpacing = inf"), "has elementspacing inf 1.5"),
        ("a.mha", (b"DimSize", b"DistanceUnits = cm\nDimSize"), "counts places in cm; expected mm: correct its"),
        ("a.mha", (b"DimSize", b"ElementToIntensityFunctionSlope = 2\nDimSize"), "slope 2, which is not applied"),
        ("a.mhd", (b"DimSize", b"ElementToIntensityFunctionOffset = 3\nDimSize"), "offset 3, which is not applied"),
        ("a.mhd", (b"ElementDataFile =", b"N = a\rElementDataFile = LOCAL\n ElementDataFile:/x\nA ="), "voxels from"),
        ("a.mha", (b"ElementDataFile", b"C = %s\nElementDataFile" % bytes(1 << 16)), "no end of its header in 65536"),
        ("a.nrrd", (b"kinds:", b'space units: "mm" "mm" "cm"\nkinds:'), "counts places in cm; expected mm"),
        ("a.nrrd", (b"(0,0,7.7000000000000002)", b"none"), "has space directions .* none; expected numbers"),
        ("a.nrrd", (b"(10,-20,30)", b"(nan,nan,nan)"), r"has space origin \(nan,nan,nan\); expected numbers"),
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


def without_space(path: Path, extra: bytes) -> Path:
    """A NRRD file whose axes have sides but no directions."""
    lines = path.read_bytes().split(b"\n\n", 1)
    head = b"\n".join(line for line in lines[0].split(b"\n") if not line.startswith(b"space"))
    path.write_bytes(head + b"\n" + extra + b"\n\n" + lines[1])
    return path


@pytest.mark.parametrize(
    ("extra", "line"),
    [(b"spacings: 1 2 nan", "has spacings 1 2 nan"), (b'spacings: 1 2 3\nunits: "mm" "mm" "m"', "counts places in m;")],
    ids=["nan", "m"],
)
def test_sides_without_directions(tmp_path, extra, line):
    write(tmp_path / "a.nrrd")
    with pytest.raises(ValueError, match=line):
        read_volume(without_space(tmp_path / "a.nrrd", extra))


def test_what_changes_nothing_is_read(tmp_path):
    write(tmp_path / "a.nrrd")
    units = b'spacings: 1 2 3e0\nunits: "mm" "" "MM"'
    assert read_volume(without_space(tmp_path / "a.nrrd", units)).GetSpacing() == (1, 2, 3)
    write(tmp_path / "a.mha")
    neutral = (b"DistanceUnits = mm", b"ElementToIntensityFunctionSlope = 1.0", b"ElementToIntensityFunctionOffset = 0")
    read_volume(edited(tmp_path / "a.mha", (b"DimSize", b"\n".join((*neutral, b"DimSize")))))


NOISE = np.random.default_rng(0).integers(-99, 99, (4, 30, 40)).astype(np.int16)


@pytest.mark.parametrize(("name", "voxels"), [("a.mha", "a.mha"), ("a.mhd", "a.zraw")])
def test_a_damaged_compressed_metaimage_is_refused(tmp_path, name, voxels):
    """ITK hands out what it could unpack, and whatever was in memory behind it."""
    image = sitk.GetImageFromArray(NOISE)
    sitk.WriteImage(image, str(tmp_path / name), useCompression=True)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(read_volume(tmp_path / name)), NOISE)
    whole = (tmp_path / voxels).read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    for content in (bytes(flipped), whole[:-1], whole[: len(whole) // 2]):
        (tmp_path / voxels).write_bytes(content)
        with pytest.raises(ValueError, match=f"{name} is truncated or damaged"):
            read_volume(tmp_path / name)
    (tmp_path / voxels).write_bytes(whole)
    for shape in (b"40 30 3", b"40 30 5"):
        with pytest.raises(ValueError, match=f"{name} is truncated or damaged"):
            read_volume(edited(tmp_path / name, (b"40 30 4", shape)))
        edited(tmp_path / name, (shape, b"40 30 4"))


@pytest.mark.parametrize("offset", [-400.0, 0.0, 300.0])
def test_a_mask_is_written_with_a_header_whose_offset_of_voxels_is_passed_over(tmp_path, offset):
    write(tmp_path / "a.nii")
    content = bytearray((tmp_path / "a.nii").read_bytes())
    struct.pack_into("<f", content, 108, offset)
    (tmp_path / "a.nii").write_bytes(content)
    write_volume(tmp_path / "mask.nii.gz", VOXELS.astype(np.uint8), tmp_path / "a.nii")
    np.testing.assert_array_equal(sitk.GetArrayFromImage(read_volume(tmp_path / "mask.nii.gz")), VOXELS)
