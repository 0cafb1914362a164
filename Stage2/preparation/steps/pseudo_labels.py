"""Pseudo-labels: superpixels or supervoxels of the body, the "organs" that episodes are trained on."""

from collections.abc import Sequence

import numpy as np
from skimage.segmentation import felzenszwalb

from Stage2.datasets.body import foreground_mask
from Stage2.datasets.catalog import SUPERPIXEL_SCALES, SUPERVOXEL_SCALES
from Stage2.preparation.steps.graph_segments import felzenszwalb_volume


def check_scale(scale: str) -> None:
    """Raise ValueError unless a scale is a key of `SUPERPIXEL_SCALES`, and so of `SUPERVOXEL_SCALES`."""
    if scale not in SUPERPIXEL_SCALES:
        raise ValueError(f"superpixel scale {scale!r} is unknown; choose one of {', '.join(SUPERPIXEL_SCALES)}.")


def felzenszwalb_segments(image: np.ndarray, scale: str = "MIDDLE") -> np.ndarray:
    """Graph-based segments of a slice.

    Args:
        image: processed slice, (H, W), any numeric type. Segmented in its own units: integers become floats first,
            because scikit-image would rescale an integer image to [0, 1], which gives other segments.
        scale: a key of `SUPERPIXEL_SCALES`.

    Returns:
        (H, W) int64, segments numbered from 0.

    Source: Felzenszwalb and Huttenlocher, IJCV 2004; Ouyang et al., ECCV 2020, section 3.2.
    """
    check_scale(scale)
    return felzenszwalb(image.astype(np.float64), **SUPERPIXEL_SCALES[scale])


def superpixels(segments: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Segments cut to the body and renumbered.

    Every segment that meets the mask is kept. The published renumbering loses segment 0, also where it lies inside
    the body, and leaves gaps between the numbers; that starves episodes of segments, so it is not reproduced.

    Args:
        segments: of a slice, (H, W) integers.
        mask: of the body, (H, W) bool.

    Returns:
        (H, W) int32: 0 outside the mask, inside it 1..n without gaps, in the order of the segments' numbers.
    """
    if segments.shape != mask.shape:
        raise ValueError(f"the segments have shape {segments.shape}, the mask {mask.shape}; they must agree.")
    numbers = np.zeros(segments.shape, dtype=np.int32)
    _, ranks = np.unique(segments[mask], return_inverse=True)
    numbers[mask] = ranks + 1
    return numbers


def pseudo_label_volume(volume: np.ndarray, threshold: float, scale: str = "MIDDLE") -> tuple[np.ndarray, np.ndarray]:
    """Superpixels and body masks of a volume, slice by slice.

    Args:
        volume: processed volume, (Z, H, W).
        threshold: foreground threshold of the data set.
        scale: a key of `SUPERPIXEL_SCALES`.

    Returns:
        Superpixels (Z, H, W) int32, numbered 1..n within each slice, and masks (Z, H, W) bool.
    """
    numbers = np.zeros(volume.shape, dtype=np.int32)
    masks = np.zeros(volume.shape, dtype=bool)
    for z, image in enumerate(volume):
        masks[z] = foreground_mask(image, threshold)
        if masks[z].any():
            numbers[z] = superpixels(felzenszwalb_segments(image, scale), masks[z])
    return numbers, masks


def supervoxel_volume(
    volume: np.ndarray, spacing: Sequence[float], threshold: float, scale: str = "MIDDLE"
) -> tuple[np.ndarray, np.ndarray]:
    """Supervoxels and body masks of a volume. Supervoxels are made of the body alone, so that each is connected.

    Args:
        volume: processed volume, (Z, H, W), any numeric type; segmented in its own units.
        spacing: mm along Z, H, W.
        threshold: foreground threshold of the data set.
        scale: a key of `SUPERVOXEL_SCALES`.

    Returns:
        Supervoxels (Z, H, W) int32, numbered 1..n through the volume, and masks (Z, H, W) bool.
    """
    check_scale(scale)
    masks = np.stack([foreground_mask(image, threshold) for image in volume])
    return felzenszwalb_volume(volume, masks, spacing, **SUPERVOXEL_SCALES[scale]), masks
