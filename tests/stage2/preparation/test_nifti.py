"""Damaged volumes are noticed, and none is left behind, where ITK is silent."""

import gzip
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from Stage2.preparation.nifti import count_not_finite, read_header, read_volume, write_volume

FULL_DISK = """
import resource, signal, sys
from pathlib import Path
import numpy as np, SimpleITK as sitk
from Stage2.preparation.nifti import write_volume
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
    assert result.returncode == 1 and "refused:" in result.stderr and "could not be written whole" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_written_voxels_come_back_with_their_note(tmp_path):
    voxels = np.arange(24, dtype=np.int32).reshape(2, 3, 4)
    write_volume(tmp_path / "x.nii.gz", voxels, sitk.GetImageFromArray(voxels), "a note")
    assert read_header(tmp_path / "x.nii.gz") == ((2, 3, 4), "a note")
    assert np.array_equal(sitk.GetArrayFromImage(read_volume(tmp_path / "x.nii.gz")), voxels)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(("code", "voxel_type"), [(16, "f4"), (64, "f8"), (8, "i4")])
def test_every_kind_of_header_leads_to_the_voxels(tmp_path, order, version, code, voxel_type):
    header = bytearray(544)
    fields = {
        1: [("i", 0, 348), ("h", 70, code), ("f", 108, 544)],
        2: [("i", 0, 540), ("h", 12, code), ("q", 168, 544)],
    }
    for kind, place, value in fields[version]:
        struct.pack_into(order + kind, header, place, value)
    values = np.array([1, 2, 3], order + voxel_type)
    if voxel_type != "i4":
        values[1:] = np.nan, np.inf
    path = tmp_path / "x.nii.gz"
    path.write_bytes(gzip.compress(bytes(header) + values.tobytes()))
    assert count_not_finite(path) == (0 if voxel_type == "i4" else 2)


def test_a_truncated_or_altered_file_is_damaged(tmp_path):
    path = tmp_path / "x.nii.gz"
    voxels = np.random.default_rng(0).integers(0, 99, (2, 30, 40)).astype(np.int16)
    write_volume(path, voxels, sitk.GetImageFromArray(voxels))
    whole = path.read_bytes()
    altered = bytearray(whole)
    altered[len(whole) // 2] ^= 1
    for content in (whole[:-1], whole[: len(whole) // 2], bytes(altered)):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"x\.nii\.gz (is truncated or damaged|cannot be read)"):
            read_volume(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"x\.nii\.gz is missing"):
        read_volume(tmp_path / "x.nii.gz")
