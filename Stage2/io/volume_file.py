"""Raw volumes and their labels from NIfTI, NRRD and MetaImage files."""

from collections.abc import Mapping
from itertools import product
from pathlib import Path

import nibabel
import numpy as np
import SimpleITK as sitk

from Stage2.datasets.labels import class_labels
from Stage2.io.grid import MAX_SHIFT
from Stage2.io.names import SUFFIX
from Stage2.io.nifti import read_header, read_voxels
from Stage2.preparation.raw.scan import RawVolumes

SUFFIXES = (SUFFIX, ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")


def read_volume_file(path: Path) -> sitk.Image:
    """A 3D volume of one finite value per voxel, with its geometry.

    Raises:
        FileNotFoundError, ValueError: no such file, another format, damaged, not 3D, or values that are not finite.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing.")
    if not path.name.endswith(SUFFIXES):
        raise ValueError(f"{path} is of an unknown format; expected {', '.join(SUFFIXES)}.")
    if path.name.endswith(SUFFIX):
        read_voxels(path)  # ITK takes a truncated NIfTI file for a whole one
    elif path.suffix == ".nii":
        _expect_whole(path)
    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError as error:
        reason = " ".join(str(error).split())[-160:]
        raise ValueError(f"{path} is damaged, or its geometry is no rigid one ({reason}); download it again.") from None
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
        raise ValueError(
            f"{path} has {image.GetDimension()} dimensions and {image.GetNumberOfComponentsPerPixel()} value(s) per "
            "voxel; expected a 3D volume with one: split it."
        )
    not_finite = np.count_nonzero(~np.isfinite(sitk.GetArrayViewFromImage(image)))
    if not_finite:
        raise ValueError(f"{path} has {not_finite} voxel(s) that are not finite; replace them by numbers.")
    return image


def read_label_file(
    path: Path, image: sitk.Image, image_path: Path, classes: Mapping[str, int], label_values: Mapping[int, int] | None
) -> sitk.Image:
    """Numbers of classes, uint8, on the grid of an image.

    Args:
        path: of the label.
        image, image_path: its image, and the name for errors.
        classes: class name -> number.
        label_values: value in the file -> number of a class; None: it holds these numbers.

    Raises:
        FileNotFoundError, ValueError: as `read_volume_file`; also another size or place, or a value of no class.
    """
    label = read_volume_file(path)
    check_same_grid(label, path, image, image_path)
    try:
        return labels_like(class_labels(sitk.GetArrayViewFromImage(label), classes, label_values), image)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def read_pair(
    paths: Mapping[str, Path],
    image: str,
    label: str | None,
    classes: Mapping[str, int],
    label_values: Mapping[int, int] | None = None,
) -> RawVolumes:
    """Image and label from two of the files: a `RawScan.reader` once the names are filled in."""
    volume = read_volume_file(paths[image])
    if label is None:
        return volume, None
    return volume, read_label_file(paths[label], volume, paths[image], classes, label_values)


def check_same_grid(label: sitk.Image, label_path: Path, image: sitk.Image, image_path: Path) -> None:
    """Refuse a label of another size, or one that is placed elsewhere than its image.

    Raises:
        ValueError: sizes differ, or a corner lies further from its counterpart than MAX_SHIFT of the smallest side.
    """
    if label.GetSize() != image.GetSize():
        sizes = [" x ".join(map(str, volume.GetSize())) for volume in (label, image)]
        raise ValueError(
            f"{label_path} has {sizes[0]} voxels (columns, rows, slices) but {image_path.name} has {sizes[1]}; both "
            "must lie on one grid: they may be of different scans."
        )
    distance = max(
        np.linalg.norm(
            np.subtract(label.TransformIndexToPhysicalPoint(corner), image.TransformIndexToPhysicalPoint(corner))
        )
        for corner in product(*((0, side - 1) for side in image.GetSize()))
    )
    if distance > MAX_SHIFT * min(image.GetSpacing()):
        theirs, ours = (_geometry(volume) for volume in (label, image))
        raise ValueError(
            f"{label_path} lies elsewhere than {image_path.name}, corners up to {distance:.4g} mm apart ({theirs} "
            f"against {ours}); resample the label to the image's grid, or correct its header."
        )


def labels_like(labels: np.ndarray, image: sitk.Image) -> sitk.Image:
    """Labels (Z, H, W) as an image on the grid of another one."""
    label = sitk.GetImageFromArray(labels)
    label.CopyInformation(image)
    return label


def orientation(image: sitk.Image) -> str:
    """Where the axes x, y, z run to, such as LPS: left, posterior, superior."""
    return sitk.DICOMOrientImageFilter.GetOrientationFromDirectionCosines(image.GetDirection())


def _geometry(image: sitk.Image) -> str:
    return f"{orientation(image)}, voxels of {' x '.join(f'{side:.4g}' for side in image.GetSpacing())} mm"


def _expect_whole(path: Path) -> None:
    read_header(path)
    try:
        np.asanyarray(nibabel.load(path).dataobj)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} is truncated or damaged ({error}); copy or download it again.") from None
