"""Random geometric and intensity changes that make a support and a query out of one slice, or of two (`sabs_aug`).

Source: SSL-ALPNet (Ouyang et al., ECCV 2020), section 3.4; of two slices: ADNet (Hansen et al., Medical Image Analysis
2022).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

ROTATION = 5.0  # degrees
SHIFT = 5.0  # pixels
SHEAR = 5.0  # degrees
ZOOM = (0.9, 1.2)
ELASTIC_SIGMA = 5.0  # pixels
ELASTIC_SCALE = 10.0  # pixels
GAMMA = (0.5, 1.5)
INTENSITY_FLOOR = 1e-5


@dataclass(frozen=True)
class GeometricChange:
    """One draw of the geometric change, applicable to an image and to its mask.

    Attributes:
        matrix: (2, 3) affine map from the original to the changed slice, in (x, y) pixels.
        map_x, map_y: (H, W) float32; where in the affinely changed slice every pixel of the result is read.
    """

    matrix: np.ndarray
    map_x: np.ndarray
    map_y: np.ndarray

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Changed copy of an (H, W) float32 slice: bilinear, zero beyond the border of the affine change.

        The published `order=3` reaches OpenCV as a flag that a warp treats as bilinear; so this is bilinear.
        """
        height, width = values.shape
        moved = cv2.warpAffine(values, self.matrix, (width, height), flags=cv2.INTER_LINEAR)
        return cv2.remap(moved, self.map_x, self.map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)


def draw_geometric_change(shape: tuple[int, int], rng: np.random.Generator) -> GeometricChange:
    """Random affine change about the slice's centre, then a random elastic one.

    Args:
        shape: (H, W) of the slice.
        rng: source of the randomness.
    """
    height, width = shape
    matrix, map_x, map_y = draw_affine_matrix(shape, rng), _displacement(shape, rng), _displacement(shape, rng)
    map_x += np.arange(width, dtype=np.float32)
    map_y += np.arange(height, dtype=np.float32)[:, None]
    return GeometricChange(matrix, map_x, map_y)


def draw_affine_matrix(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Random affine change about the centre of an (H, W) slice: (2, 3), from original to changed (x, y) pixels."""
    return _affine_matrix(
        shape,
        rotation=np.deg2rad(rng.uniform(-ROTATION, ROTATION)),
        shift=rng.uniform(-SHIFT, SHIFT, size=2),
        shear=np.deg2rad(rng.uniform(-SHEAR, SHEAR)),
        zoom=rng.uniform(*ZOOM),
    )


def _affine_matrix(shape: tuple[int, int], rotation: float, shift: np.ndarray, shear: float, zoom: float) -> np.ndarray:
    """(2, 3) matrix: zoom, shear, rotation about the centre, then shift; angles in radians, shift in (x, y) pixels."""
    height, width = shape
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    rotate = np.array([[np.cos(rotation), -np.sin(rotation)], [np.sin(rotation), np.cos(rotation)]])
    linear = rotate @ np.array([[1.0, np.tan(shear)], [0.0, 1.0]]) * zoom
    return np.column_stack([linear, centre + shift - linear @ centre])


def _displacement(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """One component of a smooth random displacement field, (H, W) float32 pixels."""
    noise = rng.random(shape, dtype=np.float32)
    noise -= 0.5
    noise *= 2 * ELASTIC_SCALE  # uniform in [-1, 1], times the scale: the blur is linear
    # 4 sigma on either side and zeros beyond the border, as scipy's gaussian_filter with mode "constant".
    side = 2 * int(4 * ELASTIC_SIGMA + 0.5) + 1
    return cv2.GaussianBlur(noise, (side, side), ELASTIC_SIGMA, borderType=cv2.BORDER_CONSTANT)


def change_gamma(image: np.ndarray, gamma: float) -> np.ndarray:
    """Gamma correction over the slice's own range of values, (H, W) -> (H, W) float32; the range is kept."""
    low = image.min()
    value_range = image.max() - low + INTENSITY_FLOOR
    changed = cv2.pow((image - low + INTENSITY_FLOOR) / value_range, gamma)
    changed *= value_range
    changed += low
    return changed


def augment(image: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """One random view of a slice and of the mask of one class.

    Args:
        image: (H, W) float32.
        mask: (H, W) bool.
        rng: source of the randomness.

    Returns:
        image (H, W) float32, mask (H, W) bool, changed by the same geometry. A two-class mask warped one-hot and
        rounded is its foreground at a half or more.
    """
    change = draw_geometric_change(image.shape, rng)
    gamma = rng.uniform(*GAMMA)
    return change_gamma(change(image), gamma), change(mask.astype(np.float32)) >= 0.5


def augment_one_of(
    views: Sequence[tuple[np.ndarray, np.ndarray]], rng: np.random.Generator
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Slices of which a random one is changed in shape, and a random one, the same or another, in intensity.

    Args:
        views: image (H, W) float32 and mask of one class (H, W) bool, of each slice.
        rng: source of the randomness.

    Returns:
        As `views`. A change of shape that would leave nothing of a small mask is not made.
    """
    changed = list(views)
    place, change = rng.integers(len(views)), draw_geometric_change(views[0][0].shape, rng)
    image, mask = changed[place]
    moved = change(mask.astype(np.float32)) >= 0.5
    if moved.any():
        changed[place] = change(image), moved
    place, gamma = rng.integers(len(views)), rng.uniform(*GAMMA)
    image, mask = changed[place]
    changed[place] = change_gamma(image, gamma), mask
    return changed
