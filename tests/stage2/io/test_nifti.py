"""Damaged volumes are noticed, and none is left behind, where ITK is silent."""

import gzip
import os
import re
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from Stage2.io.grid import grid_of
from Stage2.io.nifti import read_header, read_voxels
from Stage2.io.scans import ScanFile
from Stage2.io.volumes import read_volume, write_volume
from Stage2.preparation.raw.custom import read_custom_scan
from Stage2.preparation.raw.scan import read_pair

FULL_DISK = """
import resource, signal, sys
from pathlib import Path
import numpy as np, SimpleITK as sitk
from Stage2.io.volumes import write_volume
voxels = np.random.default_rng(0).integers(0, 1000, (4, 256, 256)).astype(np.int32)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
try:
    write_volume(Path(sys.argv[1]), voxels, sitk.GetImageFromArray(voxels))
except OSError as error:
    sys.exit(f"refused: {error}")
"""


def test_a_file_that_cannot_be_written_whole_leaves_nothing_behind(tmp_path):
    """The file size limit stands for a full disk, of which ITK says nothing."""
    command = [sys.executable, "-c", FULL_DISK, str(tmp_path / "x.nii.gz")]
    result = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[3])
    assert result.returncode == 1 and result.stderr.startswith("refused:")
    assert "x.nii.gz could not be written (File too large)" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_written_voxels_come_back_with_their_note(tmp_path):
    voxels = np.arange(24, dtype=np.int32).reshape(2, 3, 4)
    write_volume(tmp_path / "x.nii.gz", voxels, sitk.GetImageFromArray(voxels), "a note")
    header = read_header(tmp_path / "x.nii.gz")
    assert (header.size, header.note) == ((2, 3, 4), "a note")
    assert np.array_equal(sitk.GetArrayFromImage(read_volume(tmp_path / "x.nii.gz")), voxels)


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("voxel_type", ["f4", "f8"])
def test_voxels_that_are_not_finite_are_counted(tmp_path, kind, order, voxel_type):
    voxels = np.ones((2, 3, 4), order + voxel_type)
    voxels[0, 0, :2] = np.nan, np.inf
    nibabel.save(kind(voxels, np.eye(4), header=kind.header_class(endianness=order)), tmp_path / "x.nii.gz")
    with pytest.raises(ValueError, match=r"x\.nii\.gz has 2 voxel\(s\) that are not finite"):
        read_voxels(tmp_path / "x.nii.gz")


def test_volumes_that_are_not_3d_are_refused(tmp_path):
    nibabel.save(nibabel.Nifti1Image(np.ones((2, 3, 4, 5), np.float32), np.eye(4)), tmp_path / "x.nii.gz")
    with pytest.raises(ValueError, match=r"x\.nii\.gz has 4 dimensions"):
        read_voxels(tmp_path / "x.nii.gz")


def test_a_truncated_or_altered_file_is_damaged(tmp_path):
    path = tmp_path / "x.nii.gz"
    voxels = np.random.default_rng(0).integers(0, 99, (2, 30, 40)).astype(np.int16)
    write_volume(path, voxels, sitk.GetImageFromArray(voxels))
    whole = path.read_bytes()
    altered = bytearray(whole)
    altered[len(whole) // 2] ^= 1
    for content in (whole[:-1], whole[: len(whole) // 2], bytes(altered)):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"x\.nii\.gz is truncated or damaged"):
            read_volume(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"x\.nii\.gz is missing"):
        read_volume(tmp_path / "x.nii.gz")


@pytest.mark.parametrize(("unit", "factor"), [("unknown", 1), ("mm", 1), ("meter", 1000), ("micron", 0.001)])
def test_spacing_is_in_mm_along_z_rows_columns(tmp_path, unit, factor):
    image = nibabel.Nifti1Image(np.ones((4, 3, 2), np.float32), np.diag([0.5, 1.25, 7.5, 1]))
    image.header.set_xyzt_units(unit)
    nibabel.save(image, tmp_path / "x.nii.gz")
    assert read_header(tmp_path / "x.nii.gz").spacing == pytest.approx((7.5 * factor, 1.25 * factor, 0.5 * factor))


AFFINE = np.array([[0, -1.25, 0, 40], [1.25, 0, 0, -30], [0, 0, 7.7, 12.0], [0, 0, 0, 1]])  # a turned one
VOXELS = np.arange(60, dtype=np.int16).reshape(3, 4, 5)  # x, y, z


def save(path: Path, kind=nibabel.Nifti1Image, voxels=VOXELS, affine=AFFINE, sform=1, qform=1, **fields) -> Path:
    image = kind(voxels, affine, dtype=voxels.dtype)
    image.set_sform(affine, sform)
    if qform is not None:
        image.set_qform(affine, qform)
    nibabel.save(image, path)
    if not fields:
        return path
    content, length = path.read_bytes(), kind.header_class.sizeof_hdr
    header = kind.header_class(content[:length], check=False)
    for name, value in fields.items():  # what no program writes
        header[name] = value
    path.write_bytes(header.binaryblock + content[length:])
    return path


def roads(path: Path) -> tuple[sitk.Image, ...]:
    """The volume by every road: prediction, preparation of a data set of one's own and of SABS."""
    names = {"v": path}
    custom = read_custom_scan(names, ["v"], [], False, {}, None, None)[0]
    return ScanFile(path).read(), custom, read_pair(names, "v", None, {})[0]


@pytest.mark.parametrize("code", [4, 5, 7, 64, 255])
def test_an_unknown_unit_is_taken_for_mm(tmp_path, code):
    header = read_header(save(tmp_path / "x.nii", xyzt_units=code))
    assert header.spacing == read_header(save(tmp_path / "y.nii")).spacing


def sides(x: float = 1.25, y: float = 1.25, z: float = 7.7) -> list[float]:
    return [1, x, y, z, 1, 1, 1, 1]


BASE = np.array([[-1.25, 0, 0, 1.25], [0, 1.25, 0, -1.875], [0, 0, 7.7, -15.4], [0, 0, 0, 1]])  # of no codes
OTHER = np.diag([-1.25, -1.25, 7.7, 1])


@pytest.mark.parametrize(
    ("make", "affine", "warning"),
    [
        (lambda p: save(p), AFFINE, ""),
        (lambda p: save(p, nibabel.Nifti2Image), AFFINE, ""),
        (lambda p: save(p, voxels=VOXELS[..., None]), AFFINE, ""),
        (lambda p: save(p, voxels=VOXELS.astype(">f8")), AFFINE, ""),
        (lambda p: save(p, sform=0), AFFINE, ""),
        (lambda p: save(p, qform=0), AFFINE, ""),
        (lambda p: save(p, sform=0, qform=0), BASE, "codes of sform and qform are 0.*LAS. are assumed"),
        (lambda p: save(p, qform=1, quatern_d=0), AFFINE, "sform and qform are up to .* mm apart; the sform is taken"),
        (lambda p: save(p, pixdim=sides(z=0)), AFFINE, "1.25 x 0 mm .pixdim. against .* 7.7 mm of its sform"),
        (lambda p: save(p, pixdim=sides(x=-1.25)), AFFINE, "-1.25 x 1.25 x 7.7 mm .pixdim. against"),
        (lambda p: save(p, pixdim=sides(z=np.nan)), AFFINE, "nan mm .pixdim. against"),
        (lambda p: save(p, xyzt_units=1), np.diag([1000, 1000, 1000, 1]) @ AFFINE, ""),
    ],
)
def test_every_road_reads_a_header_by_one_rule(tmp_path, caplog, make, affine, warning):
    path = make(tmp_path / "x.nii")
    for image in roads(path):
        np.testing.assert_array_equal(sitk.GetArrayFromImage(image), VOXELS.T)
        np.testing.assert_allclose(grid_of(image).affine, affine, rtol=1e-6, atol=1e-5)
    np.testing.assert_array_equal(read_voxels(path), VOXELS.T)
    np.testing.assert_allclose(read_header(path).grid.affine, affine, rtol=1e-6, atol=1e-5)
    assert re.search(warning, caplog.text) if warning else not caplog.text


SHEARED = AFFINE + np.array([[0, 0, 2.0, 0], *np.zeros((3, 4))])
COLOURS = np.zeros((3, 4, 5), [("R", "u1"), ("G", "u1"), ("B", "u1")])


def cut_to(path: Path, size: int) -> Path:
    path.write_bytes(path.read_bytes()[:size])
    return path


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (lambda p: save(p, affine=SHEARED, qform=None), "axes that are not at right angles (shear)"),
        (lambda p: save(p, voxels=VOXELS.astype(np.complex64)), "of complex64 voxels; expected a 3D volume"),
        (lambda p: save(p, voxels=COLOURS), "of colour voxels; expected a 3D volume with one value per voxel"),
        (lambda p: save(p, voxels=np.stack([VOXELS] * 2, 3)), "has 4 dimensions (3 x 4 x 5 x 2)"),
        (lambda p: save(p, sform=0, pixdim=sides(z=0)), "has voxels of 1.25 x 1.25 x 0 mm (pixdim)"),
        (lambda p: save(p, sform=0, qform=0, pixdim=sides(y=-1)), "has voxels of 1.25 x -1 x 7.7 mm (pixdim)"),
        (lambda p: save(p, sform=0, quatern_b=3), "has no valid qform"),
        (lambda p: save(p, srow_x=0), "an affine without places or extent"),
        (lambda p: save(p, srow_x=np.nan), "an affine without places or extent"),
        (lambda p: save(p, datatype=3), "is truncated or damaged"),
        (lambda p: save(p, vox_offset=np.inf), "is truncated or damaged"),
        (lambda p: save(p, magic=b"ni1"), "holds the header of a pair of files"),
        (lambda p: cut_to(save(p), 300), "is no NIfTI file"),
        (lambda p: cut_to(save(p), 400), "is truncated or damaged (400 of 472 bytes)"),
        (lambda p: save(p, dim=[3, 32767, 32767, 32767, 1, 1, 1, 1]), "32767 x 32767 x 32767 voxels by its header"),
        (lambda p: save(p, dim=[3, 9, -9, 9, 1, 1, 1, 1]), "has 3 dimensions (9 x -9 x 9)"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_in_one_line_by_every_road(tmp_path, make, line):
    path = tmp_path / "x.nii"
    make(path)
    for read in (lambda: ScanFile(path).read(), lambda: read_pair({"v": path}, "v", None, {})):
        with pytest.raises(ValueError, match=re.escape(line)) as error:
            read()
        assert "\n" not in str(error.value) and str(path) in str(error.value)


def test_a_volume_is_refused_that_memory_does_not_hold(tmp_path, monkeypatch):
    path = save(tmp_path / "x.nii")
    monkeypatch.setattr("Stage2.io.guards._free_memory", lambda: 400)
    with pytest.raises(ValueError, match=r"x\.nii has 5 x 4 x 3 voxels by its header, which need .* are free"):
        read_voxels(path)


def test_a_packed_file_that_goes_on_behind_its_volume_is_refused(tmp_path):
    path = save(tmp_path / "x.nii")
    (tmp_path / "x.nii.gz").write_bytes(gzip.compress(path.read_bytes() + bytes(1 << 25)))
    with pytest.raises(ValueError, match=r"x\.nii\.gz holds more than the 472 bytes of its volume"):
        read_voxels(tmp_path / "x.nii.gz")


def test_a_name_that_is_not_utf8_is_read_and_written(tmp_path):
    strange = Path(os.fsdecode(os.fsencode(tmp_path) + b"/M\xfcller.nii.gz"))
    save(strange)
    image = ScanFile(strange).read()
    write_volume(strange.with_name("a.nii.gz"), sitk.GetArrayFromImage(image), strange)
    write_volume(strange, sitk.GetArrayFromImage(image), image)
    assert np.array_equal(read_voxels(strange), read_voxels(tmp_path / "a.nii.gz"))
