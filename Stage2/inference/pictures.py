"""A scan with its masks as pictures: slices as a radiologist sees them, square pixels, one colour for each label."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import SimpleITK as sitk

from Stage2.drawing.masks import as_bytes, grey, window_of
from Stage2.io.axes import STORED

RADIOLOGICAL = "LPS"  # the patient's right is left in the picture, the front is on top; slices from the feet up
MOST_SLICES = 24  # on a sheet


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
    slices = sitk.GetArrayViewFromImage(turned[0])
    window = window_of(slices)
    smooth = cv2.INTER_AREA if size[0] * size[1] < slices[0].size else cv2.INTER_LINEAR
    resized = np.stack([cv2.resize(as_bytes(grey(one, window)), size, interpolation=smooth) for one in slices])
    masks = [None if image is None else _resized_labels(image, size) for image in turned[1:]]
    return Pictures(resized, *masks)


def slices_to_show(labels: np.ndarray, most: int = MOST_SLICES) -> list[int]:
    """Slices with any label and one beyond on either side, evenly thinned to `most`; of an empty mask, all slices."""
    shown = np.flatnonzero(labels.any(axis=(1, 2)))
    first, last = (max(shown[0] - 1, 0), min(shown[-1] + 1, len(labels) - 1)) if len(shown) else (0, len(labels) - 1)
    count = min(most, last - first + 1)
    return np.unique(np.rint(np.linspace(first, last, count)).astype(int)).tolist()


def _shown_size(size: Sequence[int], spacing: Sequence[float], longest_side: int) -> tuple[int, int]:
    """(W, H) in square pixels."""
    extent = [size[axis] * spacing[axis] for axis in (0, 1)]
    pixel = max(min(spacing[:2]), max(extent) / longest_side)
    return tuple(max(round(length / pixel), 1) for length in extent)


def _resized_labels(image: sitk.Image, size: tuple[int, int]) -> np.ndarray:
    slices = (one.astype(np.uint16) for one in sitk.GetArrayViewFromImage(image))
    return np.stack([cv2.resize(one, size, interpolation=cv2.INTER_NEAREST) for one in slices])
