"""Reading and writing NIfTI volumes so that a damaged file is never taken for a whole one.

ITK reads a truncated .nii.gz, and voxels that are not finite, as zeros without an error, and writes a truncated file
on a full disk. So voxels are read by nibabel from a stream that gzip has checked to its end.
"""

import gzip
import math
import os
import zlib
from pathlib import Path

import nibabel
import numpy as np
import SimpleITK as sitk
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError

from Stage2.io.names import SUFFIX

_NOTE = "ITK_FileNotes"  # the description field of the NIfTI header, at most 79 characters
_MM = {"meter": 1000.0, "micron": 0.001}
_DAMAGED = (EOFError, OSError, zlib.error, ImageFileError, HeaderDataError)


def read_header(path: Path) -> tuple[tuple[int, int, int], str]:
    """Size (Z, H, W) and description of a volume, without reading its voxels.

    Raises:
        FileNotFoundError, ValueError: there is no such file, or it is not a 3D volume of one value per voxel.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing.")
    try:
        header = nibabel.load(path).header
    except _DAMAGED as error:
        raise ValueError(f"{path} cannot be read as an image ({error}); copy or download it again.") from error
    return _size(path, header), header["descrip"].item().decode(errors="replace")


def read_affine(path: Path) -> np.ndarray:
    """Voxel index (x, y, z) -> place in mm, (4, 4), of a volume that `read_header` accepts."""
    return nibabel.load(path).affine


def read_voxels(path: Path) -> np.ndarray:
    """All voxels of a volume, (Z, H, W), as stored.

    Raises:
        FileNotFoundError, ValueError: as `read_header`; also a truncated or damaged file, or values not finite.
    """
    read_header(path)
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            content = stream.read()
        volume = type(nibabel.load(path)).from_bytes(content)
        voxels = np.asanyarray(volume.dataobj).T  # stored with x fastest
    except _DAMAGED as error:
        raise ValueError(f"{path} is truncated or damaged ({error}); copy or download it again.") from error
    not_finite = np.count_nonzero(~np.isfinite(voxels))
    if not_finite:
        raise ValueError(f"{path} has {not_finite} voxel(s) that are not finite; replace them by numbers.")
    return voxels


def read_spacing(path: Path) -> tuple[float, float, float]:
    """Voxel spacing of a volume along Z, H, W in mm, from its header; a header without a unit is taken for mm.

    Raises:
        FileNotFoundError, ValueError: as `read_header`; also a spacing that is not positive.
    """
    read_header(path)
    header = nibabel.load(path).header
    unit = header.get_xyzt_units()[0]
    spacing = tuple(float(step) * _MM.get(unit, 1.0) for step in header.get_zooms()[:3][::-1])
    if not all(math.isfinite(step) and step > 0 for step in spacing):
        raise ValueError(f"{path} has a voxel spacing of {spacing} mm; expected positive numbers, correct its header.")
    return spacing


def read_volume(path: Path) -> sitk.Image:
    """A whole volume with its geometry; raises as `read_voxels`."""
    read_voxels(path)
    return sitk.ReadImage(str(path))


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
        read_voxels(partial)
        partial.replace(path)
    except (RuntimeError, ValueError) as error:
        raise OSError(f"{path} could not be written whole; is the disk full or the folder read-only?") from error
    finally:
        partial.unlink(missing_ok=True)


def _size(path: Path, header: nibabel.Nifti1Header) -> tuple[int, int, int]:
    shape = header.get_data_shape()
    if len(shape) != 3 or header.get_data_dtype().fields is not None:
        raise ValueError(
            f"{path} has {len(shape)} dimensions of {header.get_data_dtype()} voxels; expected a 3D volume with one "
            "value per voxel."
        )
    return shape[::-1]
