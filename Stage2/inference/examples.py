"""Annotated scans to adapt to: which of their slices are annotated, for which organ, and what their masks hold."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import SimpleITK as sitk
from torch import Tensor

from Stage2.adaptation.confidence import Range, spread_of
from Stage2.inference.masks import UNKNOWN, labels_in, reach_neighbours
from Stage2.inference.predictor import Support, on_grid
from Stage2.inference.transform import SPACING_TOLERANCE, ScanTransform, network_spacing
from Stage2.io.axes import slice_axis, upright
from Stage2.io.grid import millilitres_of

ALL, DRAWN = "all", "drawn"
ANY_SIZE = (0.0, 1e6)  # ml or mm


@dataclass(frozen=True)
class Example:
    """An annotated scan.

    Attributes:
        support: scan and mask.
        annotated: its slices in which the mask says all, counted from 0 in the file's order; "drawn": for every organ,
            those that show it; None or "all": all. Voxels of value 255 are unknown in any case, unless that is a label.

    Raises:
        ValueError: it is another word.
    """

    support: Support
    annotated: Sequence[int] | str | None = None

    def __post_init__(self):
        if isinstance(self.annotated, str) and self.annotated not in (ALL, DRAWN):
            raise ValueError(f"annotated {self.annotated!r}: expected {ALL!r}, {DRAWN!r}, or numbers of slices.")
        if isinstance(self.annotated, str) and self.annotated == ALL:
            object.__setattr__(self, "annotated", None)


def labels_of(examples: Sequence[Example]) -> list[int]:
    """All labels that the masks show, ascending; 255 is none.

    Raises:
        ValueError: there are none, or as `on_grid`.
    """
    shown = {label for one in examples for label in labels_in(on_grid(one.support).mask)} - {UNKNOWN}
    if examples and not shown:
        raise ValueError(
            f"{examples[0].support.mask_name} marks voxels as {UNKNOWN} alone, which means unknown; give the organ "
            f"another value, or name {UNKNOWN} as its label."
        )
    return sorted(shown)


def has_unknown(example: Example, labels: Sequence[int]) -> bool:
    """Whether its mask leaves voxels open: of value 255, unless that is a label."""
    return UNKNOWN not in labels and UNKNOWN in labels_in(example.support.mask)


def is_whole(example: Example, labels: Sequence[int]) -> bool:
    """Whether its mask says of every voxel what it is, so that it tells volumes and Dice."""
    return example.annotated is None and not has_unknown(example, labels)


def _drawn(example: Example, labels: Sequence[int], axes: str) -> dict[int, list[int]] | None:
    """Label -> slices of the scan in which it is drawn wherever it is; None: all of all.

    Raises:
        ValueError: a slice is named that the scan has not.
    """
    if example.annotated is None:
        return None
    mask = sitk.GetArrayViewFromImage(example.support.mask)
    axis = slice_axis(example.support.scan, axes)
    if example.annotated == DRAWN:
        others = tuple(other for other in range(3) if other != axis)
        return {label: np.flatnonzero((mask == label).any(axis=others)).tolist() for label in labels}
    wrong = [place for place in example.annotated if not 0 <= place < mask.shape[axis]]
    if wrong:
        raise ValueError(
            f"slice {wrong[0] + 1} of {example.support.name} is named as annotated; it has slices 1 to "
            f"{mask.shape[axis]}."
        )
    return {label: list(example.annotated) for label in labels}


def reaching(example: Example, labels: Sequence[int], transform: ScanTransform) -> Example:
    """An example whose annotated slices stand for their neighbours too, where the network sees thicker slices.

    Otherwise those that lie between two of the network's would be lost.
    """
    support = example.support
    drawn = _drawn(example, labels, transform.axes)
    if drawn is None or transform.prepared:
        return example
    image = upright(support.scan, transform.axes)
    ratio = network_spacing(image, transform)[2] / image.GetSpacing()[2]
    reach = math.ceil((ratio - 1) / 2 - SPACING_TOLERANCE)
    if reach < 1:
        return example
    axis = slice_axis(support.scan, transform.axes)
    if UNKNOWN not in labels:
        drawn[UNKNOWN] = sorted({place for places in drawn.values() for place in places})
    voxels = sitk.GetArrayFromImage(support.mask)
    mask = sitk.GetImageFromArray(reach_neighbours(voxels, axis, drawn, reach))
    mask.CopyInformation(support.mask)
    annotated = example.annotated
    if annotated != DRAWN:
        near = {place + step for place in annotated for step in range(-reach, reach + 1)}
        annotated = sorted(near & set(range(voxels.shape[axis])))
    return replace(example, support=replace(support, mask=mask), annotated=annotated)


def known_slices(example: Example, labels: Sequence[int], prepare: Callable, axes: str) -> np.ndarray | None:
    """(Z, organs) bool: the slices of the prepared scan in which each organ is drawn wherever it is; None: all.

    Args:
        example: with its mask on the grid of the scan.
        labels: of the organs.
        prepare: a mask on that grid -> (Z, H, W) bool on the grid of the prepared scan.
        axes: in which slices are shown to the network.
    """
    drawn = _drawn(example, labels, axes)
    if drawn is None:
        return None
    support = example.support
    axis = slice_axis(support.scan, axes)
    shape = support.mask.GetSize()[::-1]
    known = []
    for label in labels:
        marked = np.zeros(shape, dtype=np.uint8)
        marked[tuple(drawn[label] if other == axis else slice(None) for other in range(3))] = 1
        image = sitk.GetImageFromArray(marked)
        image.CopyInformation(support.scan)
        known.append(prepare(image).any(axis=(1, 2)))
    return np.stack(known, axis=1)


def volumes_of(label: int, supports: Sequence[Support]) -> tuple[float, float]:
    """Smallest and largest volume of an organ in the masks that show it, in ml; any volume where none does."""
    found = []
    for own in supports:
        count = np.count_nonzero(sitk.GetArrayViewFromImage(own.mask) == label)
        if count:
            found.append(count * millilitres_of(own.mask))
    return (min(found), max(found)) if found else ANY_SIZE


def spreads_of(organ: int, labels: Sequence[Tensor], spacings: Sequence[Sequence[float]]) -> tuple[Range, ...]:
    """Smallest and largest spread of an organ along each axis, as `spread_of` has it; any where no mask shows it.

    Args:
        organ: its value in the labels.
        labels: of every example, (Z, S, S) on the working grid.
        spacings: of their voxels along Z, rows and columns, in mm.
    """
    shown = [(own == organ, spacing) for own, spacing in zip(labels, spacings, strict=True)]
    found = [spread_of(mask.numpy(), spacing) for mask, spacing in shown if mask.any()]
    return tuple((min(axis), max(axis)) for axis in zip(*found, strict=True)) if found else (ANY_SIZE,) * 3
