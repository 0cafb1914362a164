"""The paper protocol: every query slice is segmented with the support slice of its part of the organ, then scored.

The query's own label tells its class range, and with it the part of every slice: as published. Nothing else is
taken from it before scoring.
"""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from Stage2.datasets.episodes import three_channels
from Stage2.datasets.folds import part_of_slice
from Stage2.datasets.labels import check_support
from Stage2.datasets.volumes import Scan
from Stage2.evaluation.metrics import compute_metrics
from Stage2.models.alp import DegenerateEpisodeError
from Stage2.models.few_shot import FewShotSegmenter, Prototypes, upsample

SLICES_AT_ONCE = 8
OVERLAP = ("dice", "precision", "recall")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ClassTask:
    """One class to test.

    Attributes:
        name: of the class.
        label: its value in the label volumes.
        support_slices: support scan id -> its slice for every part, in order.
        ranges: query scan id -> first and last slice with the class; scans without it are absent.
    """

    name: str
    label: int
    support_slices: Mapping[str, Sequence[int]]
    ranges: Mapping[str, tuple[int, int]]

    @property
    def n_parts(self) -> int:
        return len(next(iter(self.support_slices.values())))


@dataclass(frozen=True)
class ScanResult:
    """One class in one query scan.

    Attributes:
        task: the class.
        scan_id: the scan.
        slice_range: first and last slice with the class; None where the scan lacks it.
        mask: (Z, H, W) bool; None where it was not segmented, as the paper protocol does with a scan without the class.
        scores: metric -> its value over the slices of the class's range; all NaN where the scan lacks the class.
        whole_scores: the same over all slices; None where they were not asked for.
    """

    task: ClassTask
    scan_id: str
    slice_range: tuple[int, int] | None
    mask: np.ndarray | None
    scores: Mapping[str, float]
    whole_scores: Mapping[str, float] | None = None


@torch.no_grad()
def encode_slices(model: FewShotSegmenter, slices: np.ndarray) -> Tensor:
    """Features of slices, (Z, H, W) float32 -> (Z, C, h, w), a few slices at a time."""
    device = next(model.parameters()).device
    batches = [slices[first : first + SLICES_AT_ONCE] for first in range(0, len(slices), SLICES_AT_ONCE)]
    return torch.cat([model.encode(three_channels(batch).to(device)) for batch in batches])


@torch.no_grad()
def support_prototypes(
    model: FewShotSegmenter, supports: Sequence[Scan], task: ClassTask, window: int
) -> list[Prototypes]:
    """Prototypes of every part of a class, from the support scans' slices of that part.

    Raises:
        ValueError: a support slice shows nothing of the class, or no background.
    """
    for scan in supports:
        check_support(scan.id, scan.label, task.support_slices[scan.id], task.label, task.name)
    by_part = []
    for part in range(task.n_parts):
        places = [(scan, task.support_slices[scan.id][part]) for scan in supports]
        features = encode_slices(model, np.stack([scan.image[z] for scan, z in places]))
        masks = torch.from_numpy(np.stack([scan.label[z] == task.label for scan, z in places]))
        masks = masks.to(features.device, torch.float32)
        try:
            by_part.append(model.prototypes(features, masks, 1 - masks, window))
        except DegenerateEpisodeError as error:
            where = ", ".join(f"scan {scan.id} slice {z}" for scan, z in places)
            raise ValueError(f"{task.name} fills the whole support ({where}): {error}") from error
    return by_part


@torch.no_grad()
def segment_slices(
    model: FewShotSegmenter,
    features: Tensor,
    prototypes: Sequence[Prototypes],
    parts: Sequence[int],
    size: Sequence[int],
) -> np.ndarray:
    """Mask of a class in every slice of a scan.

    Args:
        model: the segmenter.
        features: of the slices, (Z, C, h, w).
        prototypes: of every part.
        parts: the part of every slice.
        size: (H, W) of the slices.

    Returns:
        (Z, H, W) bool; a pixel with equal scores is background.
    """
    mask = np.zeros((len(features), *size), dtype=bool)
    for part in sorted(set(parts)):
        places = [z for z, own in enumerate(parts) if own == part]
        logits = upsample(model.scores(features[places], prototypes[part]), size)
        mask[places] = logits.argmax(dim=1).cpu().numpy().astype(bool)
    return mask


def evaluate_scan(
    model: FewShotSegmenter,
    query: Scan,
    tasks: Sequence[ClassTask],
    prototypes: Mapping[str, Sequence[Prototypes]],
    z_margin: int,
    full_volume: bool = False,
    spacing: Sequence[float] = (1.0, 1.0, 1.0),
    metrics: Sequence[str] = OVERLAP,
) -> list[ScanResult]:
    """Segment and score every class in one query scan; its slices are encoded once for all classes.

    Args:
        model: the segmenter, in evaluation mode.
        query: scan with label.
        tasks: the classes.
        prototypes: class name -> prototypes of every part.
        z_margin: slices scored beyond the class's range, on either side.
        full_volume: also score all slices.
        spacing: of the voxels along Z, H, W in mm.
        metrics: to compute.
    """
    features = encode_slices(model, query.image)
    results = []
    for task in tasks:
        if query.id not in task.ranges:
            logger.warning("scan %s has no %s: left out, its scores are undefined", query.id, task.name)
            results.append(score_scan(task, query, None, z_margin, full_volume, spacing, metrics))
            continue
        first, last = task.ranges[query.id]
        parts = [part_of_slice(z, first, last, task.n_parts) for z in range(len(query.image))]
        mask = segment_slices(model, features, prototypes[task.name], parts, query.image.shape[1:])
        results.append(score_scan(task, query, mask, z_margin, full_volume, spacing, metrics))
    return results


def score_scan(
    task: ClassTask,
    query: Scan,
    mask: np.ndarray | None,
    z_margin: int,
    full_volume: bool = False,
    spacing: Sequence[float] = (1.0, 1.0, 1.0),
    metrics: Sequence[str] = OVERLAP,
) -> ScanResult:
    """Scores of a finished mask, over the class's range and, where asked for, over all slices.

    Args:
        task: the class.
        query: scan with label.
        mask: (Z, H, W) bool; None where the scan was not segmented: every score is undefined.
        z_margin: slices scored beyond the class's range, on either side.
        full_volume: also score all slices.
        spacing: of the voxels along Z, H, W in mm.
        metrics: to compute.
    """
    slice_range = task.ranges.get(query.id)

    def score(first: int, last: int | None) -> dict[str, float]:
        if mask is None:
            return dict.fromkeys(metrics, math.nan)
        return compute_metrics(mask[first:last], query.label[first:last] == task.label, spacing, metrics)

    in_range = dict.fromkeys(metrics, math.nan)
    if slice_range is not None:
        in_range = score(max(slice_range[0] - z_margin, 0), slice_range[1] + z_margin + 1)
    return ScanResult(task, query.id, slice_range, mask, in_range, score(0, None) if full_volume else None)
