"""Surface distances of two masks in mm: HD95 and ASSD.

Source: Maier-Hein et al., Metrics reloaded, Nature Methods 2024.
"""

import math
from collections.abc import Sequence

import numpy as np
from scipy import ndimage

PERCENTILE = 95


def surface_voxels(mask: np.ndarray) -> np.ndarray:
    """Voxels of a mask (Z, H, W) bool with a face neighbour outside it; beyond the volume is outside."""
    return mask & ~ndimage.binary_erosion(mask)


def surface_distances(prediction: np.ndarray, target: np.ndarray, spacing: Sequence[float]) -> tuple[float, float]:
    """HD95 and ASSD of two masks; both NaN where either mask is empty.

    HD95 is the larger of both directed 95th percentiles of the distance to the other surface, ASSD the mean distance
    to the other surface over the surface voxels of both masks.

    Args:
        prediction: predicted mask, (Z, H, W); a voxel belongs to a mask where it is not zero.
        target: ground truth, same shape.
        spacing: of the voxels along Z, H, W in mm.

    Raises:
        ValueError: the shapes differ, or the spacing is not one positive number for each axis.
    """
    if prediction.shape != target.shape:
        raise ValueError(f"the prediction has shape {prediction.shape}, the target {target.shape}; they must agree.")
    if len(spacing) != target.ndim or not all(math.isfinite(step) and step > 0 for step in spacing):
        raise ValueError(f"spacing {tuple(spacing)}: expected {target.ndim} positive numbers in mm.")
    prediction, target = prediction.astype(bool), target.astype(bool)
    if not prediction.any() or not target.any():
        return math.nan, math.nan
    box = ndimage.find_objects((prediction | target).astype(np.uint8))[0]  # nothing outside changes a distance
    surfaces = [surface_voxels(mask[box]) for mask in (prediction, target)]
    to_surface = [ndimage.distance_transform_edt(~surface, sampling=spacing) for surface in surfaces]
    directed = [to_surface[1][surfaces[0]], to_surface[0][surfaces[1]]]
    hd95 = max(np.percentile(distances, PERCENTILE) for distances in directed)
    return float(hd95), float(np.concatenate(directed).mean())
