"""Reading and writing NIfTI volumes so that a damaged file is never taken for a whole one.

ITK reads a truncated .nii.gz as zeros without an error, and writes one on a full disk: both are checked here.
"""

import gzip
import os
import zlib
from pathlib import Path

import numpy as np
import SimpleITK as sitk

SUFFIX = ".nii.gz"
_NOTE = "ITK_FileNotes"  # the description field of the NIfTI header, at most 79 characters


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
    """A whole 3D volume.

    Raises:
        FileNotFoundError, ValueError: as `read_header`; also a truncated or damaged file, or values not finite.
    """
    read_header(path)
    _check_whole(path)
    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError as error:
        raise _unreadable(path, error) from error
    not_finite = np.count_nonzero(~np.isfinite(sitk.GetArrayViewFromImage(image)))
    if not_finite:
        raise ValueError(f"{path} has {not_finite} voxels that are not finite; replace them by numbers.")
    return image


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
        _check_whole(partial)
        partial.replace(path)
    except (RuntimeError, ValueError) as error:
        raise OSError(f"{path} could not be written whole; is the disk full or the folder read-only?") from error
    finally:
        partial.unlink(missing_ok=True)


def _check_whole(path: Path) -> None:
    """Decompress to the end, where gzip keeps length and checksum."""
    if not path.name.endswith(".gz"):
        return
    try:
        with gzip.open(path) as stream:
            while stream.read(1 << 20):
                pass
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path} is truncated or damaged ({error}); copy or download it again.") from error


def _unreadable(path: Path, error: RuntimeError) -> ValueError:
    reason = str(error).strip().splitlines()[-1].strip()
    return ValueError(f"{path} cannot be read as an image ({reason}); copy or download it again.")
