"""Reading and writing NIfTI volumes so that a damaged file is never taken for a whole one.

ITK reads a truncated .nii.gz, and voxels that are not finite, as zeros without an error, and writes a truncated file
on a full disk: all three are checked here, in the stored bytes.
"""

import gzip
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import SimpleITK as sitk

SUFFIX = ".nii.gz"
_NOTE = "ITK_FileNotes"  # the description field of the NIfTI header, at most 79 characters
_HEADER_BYTES = 540  # of NIfTI-2; NIfTI-1 has 348
_CHUNK_BYTES = 1 << 20


def read_header(path: Path) -> tuple[tuple[int, int, int], str]:
    """Size (Z, H, W) and description of a volume, without reading its voxels.

    Raises:
        FileNotFoundError, ValueError: there is no such file, or it is not a 3D volume of one value per voxel.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing.")
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise _unreadable(path, error) from error
    if reader.GetDimension() != 3 or reader.GetNumberOfComponents() != 1:
        raise ValueError(
            f"{path} has {reader.GetDimension()} dimensions and {reader.GetNumberOfComponents()} value(s) per voxel; "
            "expected a 3D volume with one."
        )
    width, height, depth = reader.GetSize()
    return (depth, height, width), reader.GetMetaData(_NOTE) if reader.HasMetaDataKey(_NOTE) else ""


def read_volume(path: Path) -> sitk.Image:
    """A whole 3D volume from a .nii.gz file.

    Raises:
        FileNotFoundError, ValueError: as `read_header`; also a truncated or damaged file, or values not finite.
    """
    read_header(path)
    not_finite = count_not_finite(path)
    if not_finite:
        raise ValueError(f"{path} has {not_finite} voxel(s) that are not finite; replace them by numbers.")
    try:
        return sitk.ReadImage(str(path))
    except RuntimeError as error:
        raise _unreadable(path, error) from error


def count_not_finite(path: Path) -> int:
    """Number of stored voxels that are not finite, in a .nii.gz file that is whole.

    Raises:
        ValueError: the file is truncated or damaged (gzip keeps length and checksum at its end).
    """
    not_finite = 0
    try:
        with gzip.open(path) as stream:
            header = stream.read(_HEADER_BYTES)
            float_type, offset = _float_voxels(header)
            stream.seek(offset)
            while chunk := stream.read(_CHUNK_BYTES):
                if float_type is not None:
                    voxels = np.frombuffer(chunk, float_type, count=len(chunk) // float_type.itemsize)
                    not_finite += np.count_nonzero(~np.isfinite(voxels))
    except (EOFError, gzip.BadGzipFile, zlib.error, struct.error) as error:
        raise ValueError(f"{path} is truncated or damaged ({error}); copy or download it again.") from error
    return not_finite


def write_volume(path: Path, voxels: np.ndarray, like: sitk.Image, note: str = "") -> None:
    """Write voxels with the geometry of an image, whole or not at all.

    Args:
        path: of a .nii.gz file in an existing folder.
        voxels: (Z, H, W).
        like: gives spacing, origin and direction; its size must be that of the voxels.
        note: description for the header.

    Raises:
        OSError: the file could not be written whole.
    """
    image = sitk.GetImageFromArray(voxels)
    image.CopyInformation(like)
    image.SetMetaData(_NOTE, note)
    partial = path.with_name(f".{path.name.removesuffix(SUFFIX)}.{os.getpid()}.partial{SUFFIX}")
    try:
        sitk.WriteImage(image, str(partial), useCompression=True)
        count_not_finite(partial)
        partial.replace(path)
    except (RuntimeError, ValueError) as error:
        raise OSError(f"{path} could not be written whole; is the disk full or the folder read-only?") from error
    finally:
        partial.unlink(missing_ok=True)


def _float_voxels(header: bytes) -> tuple[np.dtype | None, int]:
    """Type of the stored voxels if they are floats, and where they start, from a NIfTI-1 or NIfTI-2 header."""
    order = "<" if struct.unpack_from("<i", header)[0] in (348, 540) else ">"
    if struct.unpack_from(f"{order}i", header)[0] == 348:
        code, start = struct.unpack_from(f"{order}h", header, 70)[0], struct.unpack_from(f"{order}f", header, 108)[0]
    else:
        code, start = struct.unpack_from(f"{order}h", header, 12)[0], struct.unpack_from(f"{order}q", header, 168)[0]
    return {16: np.dtype(f"{order}f4"), 64: np.dtype(f"{order}f8")}.get(code), int(start)


def _unreadable(path: Path, error: RuntimeError) -> ValueError:
    reason = str(error).strip().splitlines()[-1].strip()
    return ValueError(f"{path} cannot be read as an image ({reason}); copy or download it again.")
