"""Damaged volumes are noticed, and none is left behind, where ITK is silent."""

import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from Stage2.io.nifti import read_header, read_voxels
from Stage2.io.volumes import read_volume, write_volume

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
