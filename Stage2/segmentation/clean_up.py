"""Clean-up of a mask: one organ is one piece, without holes. More than was published, off by default."""

import numpy as np
from scipy import ndimage


def largest_component(mask: np.ndarray) -> np.ndarray:
    """The largest piece of a mask, (Z, H, W) bool, the first of equals; voxels that share a corner hold together."""
    pieces, count = ndimage.label(mask, structure=np.ones((3, 3, 3)))
    if count < 2:
        return mask
    return pieces == 1 + np.bincount(pieces.ravel())[1:].argmax()


def fill_holes(mask: np.ndarray, slice_axis: int = 0) -> np.ndarray:
    """Holes that are closed within a slice filled, (Z, H, W) bool; slices lie along `slice_axis`."""
    slices = np.moveaxis(mask, slice_axis, 0)
    return np.moveaxis(np.stack([ndimage.binary_fill_holes(one) for one in slices]), 0, slice_axis)


def clean_label_map(labels: np.ndarray, slice_axis: int = 0) -> np.ndarray:
    """Every label reduced to its largest piece, then filled; a hole that is another organ stays that organ.

    Args:
        labels: (Z, H, W), 0 is background.
        slice_axis: along which slices lie.
    """
    kept = np.zeros_like(labels)
    values = [value for value in np.unique(labels) if value]
    for value in values:
        kept[largest_component(labels == value)] = value
    result = kept.copy()
    for value in values:
        filled = fill_holes(kept == value, slice_axis)
        result[filled & (kept == 0)] = value
    return result
