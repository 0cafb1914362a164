"""Where voxels lie: the check that a label lies on the grid of its image, and masks turned to their scan's axes."""

from collections.abc import Callable, Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import SimpleITK as sitk

# 257 is what the CT preparation's size formula gives; training and testing use the first 256 rows and columns.
SLICE_SIZES = (256, 257)
MM3_PER_ML = 1000.0
VOXELS_AT_ONCE = 1 << 24  # of a large scan that are worked on at a time, in whole slices
MAX_SHIFT = 0.5  # of the smallest side of a voxel: more, and a label names other voxels than those drawn
_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])  # SimpleITK counts to the left and to the back


class Grid(NamedTuple):
    """Voxels in space.

    Attributes:
        size: (Z, H, W).
        affine: index (x, y, z) -> place in mm to the right, front and head, (4, 4).
    """

    size: tuple[int, int, int]
    affine: np.ndarray

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distance of neighbouring voxels along Z, H, W, mm."""
        return tuple(np.linalg.norm(self.affine[:3, :3], axis=0)[::-1].tolist())

    @property
    def corners(self) -> np.ndarray:
        """Places of the outermost voxels, (8, 3), mm."""
        indices = np.array([(*corner, 1) for corner in product(*((0, side - 1) for side in self.size[::-1]))])
        return (indices @ self.affine.T)[:, :3]


def grid_of(image: sitk.Image) -> Grid:
    """The grid of an image."""
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return Grid(image.GetSize()[::-1], _TO_RAS @ affine)


def millilitres_of(image: sitk.Image) -> float:
    """Volume of a voxel, in ml."""
    return float(np.prod(image.GetSpacing())) / MM3_PER_ML


def at_right_angles(path: Path, image: sitk.Image) -> sitk.Image:
    """The image with exact right angles between its axes, and sides of voxels that are numbers.

    Raises:
        ValueError: sides are not positive, or angles are off by more than rounding.
    """
    direction = np.reshape(image.GetDirection(), (3, 3))
    spacing = np.array(image.GetSpacing())
    if not (np.isfinite(direction).all() and np.isfinite(spacing).all() and (spacing > 0).all()):
        raise ValueError(f"{path} has voxels of {tuple(spacing)} mm; expected positive numbers, correct its header.")
    if np.allclose(direction.T @ direction, np.eye(3), rtol=0, atol=1e-6):
        return image
    left, _, right = np.linalg.svd(direction)
    shift = np.linalg.norm((direction - left @ right) * spacing * image.GetSize(), axis=0).max()
    if shift > MAX_SHIFT * spacing.min():
        raise ValueError(
            f"{path} has axes that are not at right angles (shear); expected a rigid geometry: resample it to a "
            "straight grid."
        )
    image.SetDirection((left @ right).ravel().tolist())
    return image


def image_on_grid(voxels: np.ndarray, like: sitk.Image) -> sitk.Image:
    """Voxels (Z, H, W) as an image with the geometry of another one."""
    image = sitk.GetImageFromArray(voxels)
    image.CopyInformation(like)
    return image


def outside_value(image: sitk.Image) -> float:
    """What voxels outside an image are taken for: 0 as published, or its minimum where that is less, as air is then."""
    return min(0.0, float(sitk.GetArrayViewFromImage(image).min()))


def slabs_of(size: Sequence[int]) -> Iterator[slice]:
    """Consecutive slices of a volume of size (W, H, Z) that are worked on at a time, in order."""
    step = max(1, VOXELS_AT_ONCE // (size[0] * size[1]))
    return (slice(first, min(first + step, size[2])) for first in range(0, size[2], step))


def changed_voxels(image: sitk.Image, change: Callable[[np.ndarray], np.ndarray], kind: int) -> sitk.Image:
    """An image with every voxel changed by itself, some slices at a time.

    Args:
        image: 3D.
        change: voxels (z, H, W) -> what they become.
        kind: pixel type of the result, such as `sitk.sitkFloat32`, which numbers are converted to.
    """
    result = sitk.Image(image.GetSize(), kind)
    result.CopyInformation(image)
    voxels = sitk.GetArrayViewFromImage(image)
    for slab in slabs_of(image.GetSize()):
        result[:, :, slab] = sitk.Cast(sitk.GetImageFromArray(change(voxels[slab])), kind)
    return result


def check_slice_size(path: Path, size: Sequence[int]) -> None:
    """Refuse an image of size (Z, H, W) whose slices are not 256 x 256 (257).

    Raises:
        ValueError: another size; where only the order of the axes is wrong, it says so. A volume that has 256 slices
            of 256 x 256 looks the same in any order and is taken as it is.
    """
    if all(side in SLICE_SIZES for side in size[1:]):
        return
    wrong = [axis for axis, side in enumerate(size) if side not in SLICE_SIZES]
    if len(wrong) == 1:
        axis = {1: "second", 2: "first"}[wrong[0]]
        raise ValueError(
            f"{path} is an array of {times(size[::-1])} voxels, with its slices along the {axis} axis; "
            "expected columns x rows x slices, 256 x 256 x slices: reorder its axes, and those of its label."
        )
    raise ValueError(f"{path} has slices of {size[1]} x {size[2]} pixels; expected 256 x 256: resample or crop it.")


def check_same_size(path: Path | str, size: Sequence[int], image_path: Path | str, image_size: Sequence[int]) -> None:
    """Refuse a file whose size (Z, H, W) is not that of its image.

    Raises:
        ValueError: they differ.
    """
    if tuple(size) != tuple(image_size):
        raise ValueError(
            f"{path} has {times(size[::-1])} voxels (columns, rows, slices) but {image_path} has "
            f"{times(image_size[::-1])}; both must lie on one grid: they may be of different scans, or resample it."
        )


def check_same_grid(path: Path | str, grid: Grid, image_path: Path | str, image_grid: Grid) -> None:
    """Refuse a label of another size, or one that is placed elsewhere than its image.

    Raises:
        ValueError: sizes differ, or a corner lies further from its counterpart than MAX_SHIFT of the smallest side.
    """
    check_same_size(path, grid.size, image_path, image_grid.size)
    distance = distance_of(grid, image_grid)
    if not distance <= MAX_SHIFT * min(image_grid.spacing):
        raise ValueError(
            f"{path} lies elsewhere than {image_path}: {_shown(grid)} against {_shown(image_grid)}, corners up to "
            f"{distance:.4g} mm apart; resample the label to the image's grid, or correct its header."
        )


def distance_of(grid: Grid, other: Grid) -> float:
    """How far the corners of two grids of one size are apart, mm."""
    return float(np.linalg.norm(grid.corners - other.corners, axis=1).max())


def turned_to(mask: sitk.Image, image: sitk.Image) -> sitk.Image:
    """A mask with its axes in the order and direction of those of an image, as far as exchanges and flips go."""
    ours, theirs = (np.reshape(one.GetDirection(), (3, 3)) for one in (image, mask))
    axes = np.rint(ours.T @ theirs)  # signed: which axis of the mask runs along which of the image
    if not (np.abs(axes).sum(axis=0) == 1).all() or not (np.abs(axes).sum(axis=1) == 1).all():
        return mask
    order = np.abs(axes).argmax(axis=1).tolist()
    flips = [bool(axes[row, column] < 0) for row, column in enumerate(order)]
    if order == [0, 1, 2] and not any(flips):
        return mask
    return sitk.Flip(sitk.PermuteAxes(mask, order), flips)


def on_grid_of(mask: sitk.Image, image: sitk.Image, path: Path | str, image_path: Path | str) -> sitk.Image:
    """A mask on the grid of its image, turned where its voxels are the same in another order or direction of axes.

    Raises:
        ValueError: as `check_same_grid`, with the names given.
    """
    turned, grid = turned_to(mask, image), grid_of(image)
    try:
        check_same_grid(path, grid_of(turned), image_path, grid)
    except ValueError:
        check_same_grid(path, grid_of(mask), image_path, grid)  # in the words of its own header
    return turned


def _shown(grid: Grid) -> str:
    axes = sitk.DICOMOrientImageFilter.GetOrientationFromDirectionCosines(
        (_TO_RAS[:3, :3] @ grid.affine[:3, :3] / grid.spacing[::-1]).ravel().tolist()
    )
    return f"{axes}, voxels of {times(grid.spacing[::-1])} mm"


def times(values: Sequence[float]) -> str:
    """Numbers as in 256 x 256 x 30."""
    return " x ".join(f"{value}" if isinstance(value, int) else f"{value:.4g}" for value in values)
