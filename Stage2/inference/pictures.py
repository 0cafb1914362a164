"""A scan with its masks as pictures: slices as a radiologist sees them, square pixels, one colour for each label."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import SimpleITK as sitk

from Stage2.io.axes import STORED

RADIOLOGICAL = "LPS"  # the patient's right is left in the picture, the front is on top; slices from the feet up
# Okabe and Ito's colours, told apart by colour-blind eyes: orange, sky blue, green, yellow, blue, vermilion, purple.
COLOURS = ("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7")
TRUTH_COLOUR = "#ffffff"
FILL_OPACITY = 0.45
PERCENTILES = (1, 99.5)  # of the volume, shown black and white


@dataclass(frozen=True)
class Pictures:
    """What there is to draw of one scan.

    Attributes:
        grey: slices, (Z, H, W) uint8, square pixels.
        labels: (Z, H, W) on the same pixels.
        truth: the same of the ground truth; None without one.
    """

    grey: np.ndarray
    labels: np.ndarray
    truth: np.ndarray | None = None


def pictures_of(
    scan: sitk.Image, labels: sitk.Image, truth: sitk.Image | None, axes: str, longest_side: int = 384
) -> Pictures:
    """Slices to look at.

    Args:
        scan: the query.
        labels: its mask, on the same grid.
        truth: ground truth, on the same grid.
        axes: of the transform; with "stored", slices stay as they lie in the file.
        longest_side: of a slice in pixels; larger ones are shrunk.
    """
    turned = [
        None if image is None else image if axes == STORED else sitk.DICOMOrient(image, RADIOLOGICAL)
        for image in (scan, labels, truth)
    ]
    size = _shown_size(turned[0].GetSize(), turned[0].GetSpacing(), longest_side)
    volume = sitk.GetArrayFromImage(turned[0]).astype(np.float32)
    low, high = np.percentile(volume, PERCENTILES)
    grey = (255 * np.clip((volume - low) / max(high - low, 1e-6), 0, 1)).astype(np.uint8)
    shrinking = size[0] * size[1] < volume.shape[1] * volume.shape[2]
    resized = np.stack([cv2.resize(one, size, interpolation=_smooth(shrinking)) for one in grey])
    masks = [None if image is None else _resized_labels(image, size) for image in turned[1:]]
    return Pictures(resized, *masks)


def colour_of(labels: Sequence[int], label: int) -> str:
    """Colour of a label among the labels; they repeat after seven."""
    return COLOURS[list(labels).index(label) % len(COLOURS)]


def outline(mask: np.ndarray, width: int = 1) -> np.ndarray:
    """Pixels of a mask (H, W) bool next to its edge, bool; the edge of the picture is one."""
    padded = np.pad(mask.astype(np.uint8), 1)
    inner = cv2.erode(padded, np.ones((3, 3), np.uint8), iterations=width)[1:-1, 1:-1]
    return mask & ~inner.astype(bool)


def overlay(mask: np.ndarray, colour: str, fill: float = FILL_OPACITY) -> np.ndarray:
    """A mask (H, W) bool as a layer (H, W, 4) uint8 of red, green, blue and opacity: filled, its outline opaque."""
    layer = np.zeros((*mask.shape, 4), dtype=np.uint8)
    layer[mask] = [*rgb(colour), round(255 * fill)]
    layer[outline(mask), 3] = 255
    return layer


def rgb(colour: str) -> tuple[int, int, int]:
    """Red, green and blue of #rrggbb, 0 to 255."""
    return tuple(int(colour[start : start + 2], 16) for start in (1, 3, 5))


def _shown_size(size: Sequence[int], spacing: Sequence[float], longest_side: int) -> tuple[int, int]:
    """(W, H) in square pixels."""
    extent = [size[axis] * spacing[axis] for axis in (0, 1)]
    pixel = max(min(spacing[:2]), max(extent) / longest_side)
    return tuple(max(round(length / pixel), 1) for length in extent)


def _resized_labels(image: sitk.Image, size: tuple[int, int]) -> np.ndarray:
    voxels = sitk.GetArrayFromImage(image).astype(np.uint16)
    return np.stack([cv2.resize(one, size, interpolation=cv2.INTER_NEAREST) for one in voxels])


def _smooth(shrinking: bool) -> int:
    return cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR
