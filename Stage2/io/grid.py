"""Where the voxels of a processed scan lie: slices of 256 x 256, and labels on the grid of their image."""

from collections.abc import Sequence
from itertools import product
from pathlib import Path

import numpy as np

from Stage2.io.nifti import read_affine

# 257 is what the CT preparation's size formula gives; training and testing use the first 256 rows and columns.
SLICE_SIZES = (256, 257)
MAX_SHIFT = 0.5  # of the smallest side of a voxel: more, and a label names other voxels than those drawn


def check_slice_size(path: Path, size: Sequence[int]) -> None:
    """Refuse slices of another size than 256 x 256 (257).

    Args:
        path: of the image, for the error.
        size: of the volume, (Z, H, W).

    Raises:
        ValueError: another size; where only the order of the axes is wrong, it says so. A volume that has 256 slices
            of 256 x 256 looks the same in any order and is taken as it is.
    """
    if all(side in SLICE_SIZES for side in size[1:]):
        return
    wrong = [axis for axis, side in enumerate(size) if side not in SLICE_SIZES]
    if len(wrong) == 1:
        columns, rows, slices = size[::-1]
        axis = {1: "second", 2: "first"}[wrong[0]]
        raise ValueError(
            f"{path} is an array of {columns} x {rows} x {slices} voxels, with its slices along the {axis} axis; "
            "expected columns x rows x slices, 256 x 256 x slices: reorder its axes, and those of its label."
        )
    raise ValueError(f"{path} has slices of {size[1]} x {size[2]} pixels; expected 256 x 256: resample or crop it.")


def check_same_size(path: Path, size: Sequence[int], image_path: Path, image_size: Sequence[int]) -> None:
    """Refuse a file whose size (Z, H, W) is not that of its image.

    Raises:
        ValueError: they differ.
    """
    if tuple(size) != tuple(image_size):
        raise ValueError(
            f"{path} has size {tuple(size)} (slices, rows, columns) but {image_path} has {tuple(image_size)}; "
            "both must lie on one grid."
        )


def check_same_place(path: Path, image_path: Path, size: Sequence[int]) -> None:
    """Refuse a label that its header places elsewhere than the image: other spacing, direction or origin.

    Args:
        path, image_path: files of one size.
        size: theirs, (Z, H, W).

    Raises:
        ValueError: some voxel lies further from its counterpart than MAX_SHIFT of the smallest voxel side.
    """
    own, image = read_affine(path), read_affine(image_path)
    corners = np.array([(*corner, 1) for corner in product(*((0, side - 1) for side in size[::-1]))])
    distance = np.linalg.norm(corners @ (own - image).T, axis=1).max()
    spacings = [np.linalg.norm(affine[:3, :3], axis=0) for affine in (own, image)]
    if distance > MAX_SHIFT * spacings[1].min():
        theirs, ours = (" x ".join(f"{side:.4g}" for side in spacing) for spacing in spacings)
        raise ValueError(
            f"{path} lies elsewhere than {image_path}: voxels of {theirs} mm against {ours} mm, corners up to "
            f"{distance:.4g} mm apart; resample the label to the image's grid, or correct its header."
        )
