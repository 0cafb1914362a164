"""Volumes of every format, read in one way to one type, and written in one way."""

import gzip
import logging
import math
from pathlib import Path

import nibabel
import numpy as np
import SimpleITK as sitk

from Stage1.files import whole_file
from Stage2.io.grid import at_right_angles, grid_of
from Stage2.io.guards import expect_fits, one_line, plain_name
from Stage2.io.nifti import NIFTI_SUFFIXES, VolumeHeader, expect_finite, read_header, read_voxels
from Stage2.io.text_header import read_text_header

SUFFIXES = (*NIFTI_SUFFIXES, ".nrrd", ".nhdr", ".mha", ".mhd")
DETACHED = (".mhd", ".nhdr")  # the voxels lie in another file with the same stem
_LEVEL = 4  # of compression

logger = logging.getLogger(__name__)


def read_volume(path: Path) -> sitk.Image:
    """A volume of one finite real value per voxel, 3D, with its geometry in mm.

    Raises:
        FileNotFoundError, ValueError: no such file, another format, damaged, not 3D, values that are not finite, sides
            of voxels that are not positive, axes that are not at right angles, or more than memory holds. NRRD and
            MetaImage: places in another unit than mm, or values that are to be scaled.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing.")
    if not path.name.endswith(SUFFIXES):
        raise ValueError(f"{path} is of an unknown format; expected {', '.join(SUFFIXES)}.")
    if path.name.endswith(NIFTI_SUFFIXES):
        header = read_header(path)
        header.grid  # noqa: B018, errors of the header before those of the voxels
        with one_line(path):
            image = placed(header, sitk.GetImageFromArray(read_voxels(path)))
    else:
        image = _read_by_itk(path)
        expect_finite(path, sitk.GetArrayViewFromImage(image))
    return at_right_angles(path, image)


def placed(header: VolumeHeader, image: sitk.Image) -> sitk.Image:
    """The image, which has the first voxel of a NIfTI file, with its spacing, origin and direction."""
    grid, to_lps = header.grid, np.diag([-1.0, -1.0, 1.0])
    image.SetSpacing(header.spacing[::-1])
    image.SetOrigin((to_lps @ grid.affine[:3, 3]).tolist())
    image.SetDirection((to_lps @ grid.affine[:3, :3] / grid.spacing[::-1]).ravel().tolist())
    return image


def voxel_file(path: Path) -> Path | None:
    """The file beside a NRRD or MetaImage header that holds its voxels; None: they are in the same file, or nowhere."""
    if path.name.endswith(NIFTI_SUFFIXES) or not path.name.endswith(SUFFIXES):
        return None
    try:
        found = read_text_header(path).voxel_file()
    except ValueError:
        return None
    return None if found == path else found


def write_volume(path: Path, voxels: np.ndarray, like: sitk.Image | Path, note: str = "") -> None:
    """Write voxels as .nii.gz, whole or not at all.

    Args:
        path: in any folder.
        voxels: (Z, H, W).
        like: an image, which gives spacing, origin and direction, or a NIfTI file, whose whole header is kept; its
            size must be that of the voxels.
        note: description for the header; empty: that of the NIfTI file.

    Raises:
        OSError: the file could not be written whole.
    """
    if isinstance(like, Path):
        source = read_header(like)
        header, size, spacing = source.raw, source.size, source.spacing
        header["pixdim"][1:4] = np.divide(spacing[::-1], source.unit)
        header["cal_min"] = header["cal_max"] = 0  # the window to show the scan in, not the mask
    else:
        grid = grid_of(like)
        header, size, spacing = nibabel.Nifti1Header(), grid.size, like.GetSpacing()[::-1]
        header.set_data_shape(size[::-1])
        header.set_xyzt_units("mm")
        header.set_qform(grid.affine, "scanner")
        header.set_sform(grid.affine, "scanner")
        header["pixdim"][1:4] = spacing[::-1]
    if voxels.shape != tuple(size):
        raise ValueError(f"voxels of size {voxels.shape} do not fit the grid of {size} that {path} is to have.")
    if note:
        header["descrip"] = note.encode()[:79]
    header.set_data_dtype(voxels.dtype)
    header.set_slope_inter(1, 0)
    header["vox_offset"] = 0  # nibabel refuses to write one that readers pass over
    kind = nibabel.Nifti2Image if isinstance(header, nibabel.Nifti2Header) else nibabel.Nifti1Image
    image = kind(voxels.T, None, header, dtype=voxels.dtype)
    with (
        whole_file(path) as temporary,
        temporary.open("wb") as file,
        gzip.GzipFile("", "wb", _LEVEL, file, mtime=0) as packed,
    ):
        image.to_stream(packed)


def _read_by_itk(path: Path) -> sitk.Image:
    """A NRRD or MetaImage file."""
    reader = sitk.ImageFileReader()
    with one_line(path), plain_name(path) as name:
        header = read_text_header(path)
        if header.voxel_file() != path and name != str(path):
            raise ValueError(f"{path} has a name that is not in UTF-8, and its voxels in another file; rename it.")
        if not header.has_sides:
            logger.warning("%s does not say how large its voxels are; 1 mm is assumed.", path)
        reader.SetFileName(name)
        reader.ReadImageInformation()
        if reader.GetDimension() != 3 or reader.GetNumberOfComponents() != 1:
            raise ValueError(
                f"{path} has {reader.GetDimension()} dimensions and {reader.GetNumberOfComponents()} value(s) per "
                "voxel; expected a 3D volume with one: split it."
            )
        header.expect_plain()
        expect_fits(path, reader.GetSize(), 4)
        bytes_per_voxel = sitk.Image([1, 1, 1], reader.GetPixelID()).GetSizeOfPixelComponent()
        header.expect_sound(math.prod(reader.GetSize()) * bytes_per_voxel)
        return reader.Execute()
