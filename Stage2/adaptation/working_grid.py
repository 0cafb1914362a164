"""The grid that an adapted network works on: slices of a prepared scan, made smaller where the organs allow it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
import torch
from torch import Tensor
from torch.nn import functional

from Stage2.adaptation.learner import IGNORED

SIDES = (128, 160, 192, 224, 256)  # pixels along a side, cheapest first
FEWEST_PIXELS = 40.0  # of the smallest organ in the slice that shows most of it


@dataclass(frozen=True)
class AnnotatedSlices:
    """A scan on the working grid.

    Attributes:
        name: for messages.
        images: (Z, S, S) float32, normalised.
        labels: (Z, S, S) int64: 0 for background, place of the organ from 1 up, `IGNORED` where nothing is known.
        known: (Z, organs) bool: the slices in which an organ is drawn wherever it is. Where it is not known, a pixel of
            label 0 may be of it.
    """

    name: str
    images: Tensor
    labels: Tensor
    known: Tensor

    @property
    def annotated(self) -> Tensor:
        """Places of the slices in which something is known."""
        return torch.nonzero(self.known.any(dim=1) & (self.labels != IGNORED).flatten(1).any(dim=1))[:, 0]

    @property
    def showing(self) -> Tensor:
        """Places of the slices that show an organ."""
        return torch.nonzero(((self.labels != IGNORED) & (self.labels > 0)).flatten(1).any(dim=1))[:, 0]


def choose_side(masks: Sequence[Mapping[int, np.ndarray]]) -> int:
    """The smallest side at which every organ keeps enough pixels; the largest one where none does.

    Args:
        masks: of every annotated scan: label -> (Z, H, W) bool.
    """
    full = SIDES[-1]
    largest: dict[int, float] = {}
    for own in masks:
        for label, mask in own.items():
            if mask.any():
                share = float(mask.sum(axis=(1, 2)).max()) * full**2 / mask[0].size
                largest[label] = max(largest.get(label, 0.0), share)
    smallest = min(largest.values(), default=0.0)
    return next((side for side in SIDES if smallest * (side / full) ** 2 >= FEWEST_PIXELS), full)


def to_working_grid(slices: np.ndarray, side: int) -> Tensor:
    """Slices (Z, H, W) float32 -> (Z, side, side), linear with smoothing, so that nothing is skipped."""
    return _resized(torch.from_numpy(np.ascontiguousarray(slices, dtype=np.float32)), side)


def labels_on_working_grid(
    masks: Mapping[int, np.ndarray], side: int, known: np.ndarray | None = None, ignored: np.ndarray | None = None
) -> tuple[Tensor, Tensor]:
    """Labels and known organs of a scan, as in `AnnotatedSlices`; of two organs, the first has a pixel that both fill.

    Args:
        masks: label -> (Z, H, W) bool; the first label becomes 1.
        side: of the working grid.
        known: (Z, organs) bool; None: every organ is known everywhere.
        ignored: (Z, H, W) bool: voxels of which nothing is known; None: none.
    """
    first = next(iter(masks.values()))
    known = torch.ones(len(first), len(masks), dtype=torch.bool) if known is None else torch.from_numpy(known)
    labels = torch.zeros(len(first), side, side, dtype=torch.int64)
    largest = torch.full(labels.shape, 0.5)
    for place, mask in enumerate(masks.values(), start=1):
        share = _resized(torch.from_numpy(mask.astype(np.float32)), side) * known[:, place - 1, None, None]
        more = (share > largest) | ((share == largest) & (labels == 0))
        labels[more], largest[more] = place, share[more]
    for place, mask in enumerate(masks.values(), start=1):
        if mask.any() and not (labels == place).any():  # less than half a pixel of the working grid everywhere
            share = _resized(torch.from_numpy(mask.astype(np.float32)), side) * known[:, place - 1, None, None]
            labels[(share > 0) & (share >= 0.5 * share.amax())] = place
    if ignored is not None:
        labels[_resized(torch.from_numpy(ignored.astype(np.float32)), side) > 0] = IGNORED
    labels[~known.any(dim=1)] = IGNORED
    return labels, known


def with_neighbours(images: Tensor, places: Tensor) -> Tensor:
    """Slices between their neighbours below and above, (Z, S, S) -> (B, 3, S, S); the ends stand for what is beyond."""
    steps = torch.tensor([-1, 0, 1])
    return images[(places[:, None] + steps).clamp(0, len(images) - 1)]


def working_geometry(prepared: sitk.Image, side: int) -> sitk.Image:
    """An empty image on the working grid of a prepared scan: the same place in space, other pixels."""
    width, height, depth = prepared.GetSize()
    spacing = np.array(prepared.GetSpacing()) * (width / side, height / side, 1)
    shift = (np.array(spacing) - prepared.GetSpacing()) / 2
    direction = np.reshape(prepared.GetDirection(), (3, 3))
    image = sitk.Image([side, side, depth], sitk.sitkUInt8)
    image.SetSpacing(spacing.tolist())
    image.SetDirection(prepared.GetDirection())
    image.SetOrigin((np.array(prepared.GetOrigin()) + direction @ shift).tolist())
    return image


def _resized(slices: Tensor, side: int) -> Tensor:
    if slices.shape[-2:] == (side, side):
        return slices
    size = (side, side)
    return functional.interpolate(slices[:, None], size=size, mode="bilinear", antialias=True)[:, 0]
