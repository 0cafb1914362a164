"""The body in a slice: what lies above a data set's foreground threshold."""

import numpy as np
from scipy import ndimage
from skimage.measure import label as label_components


def foreground_mask(image: np.ndarray, threshold: float) -> np.ndarray:
    """The body in a slice: largest 8-connected region above the threshold, its holes filled.

    Args:
        image: processed slice, (H, W).
        threshold: of the data set, in units of the processed image; voxels must lie above it.

    Returns:
        (H, W) bool; empty where nothing lies above the threshold.
    """
    regions = label_components(image > threshold, connectivity=2)
    sizes = np.bincount(regions.ravel())
    if len(sizes) == 1:
        return np.zeros(image.shape, dtype=bool)
    return ndimage.binary_fill_holes(regions == 1 + sizes[1:].argmax())
