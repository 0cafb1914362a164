"""Testing a class in a query scan: what is tested, the published protocols, and the scores of a finished mask.

In the paper protocol the query's own label tells its class range, and with it the part of every slice: as published.
In ADNet's it tells which slices show the class; no other slice is segmented. Nothing else is taken from it before
scoring.
"""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from Stage2.datasets.cohort import Cohort
from Stage2.datasets.labels import check_support
from Stage2.datasets.volumes import Scan
from Stage2.evaluation.metrics import compute_metrics
from Stage2.models.alp import DegenerateEpisodeError
from Stage2.models.few_shot import FewShotSegmenter
from Stage2.models.heads import Prototypes
from Stage2.segmentation.matching import parts_of_chunks, parts_of_range
from Stage2.segmentation.scans import (
    SupportSlices,
    encode_slices,
    prototypes_of_slices,
    segment_slices,
    segment_with_query,
)  # fmt: skip

Encode = Callable[[np.ndarray], Tensor]  # slices of a scan, (Z, H, W), to their features, (Z, C, h, w)
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


def list_tasks(
    cohort: Cohort, labels: Sequence[int], support_ids: Sequence[str], query_ids: Sequence[str], n_parts: int,
    min_pixels: int,
) -> list[ClassTask]:  # fmt: skip
    """A task for every class of a cohort.

    Args:
        cohort: where the scans are, with what its class maps say of them.
        labels: the classes.
        support_ids, query_ids: the support scans, and the scans to test.
        n_parts: support slices of a class in a support scan.
        min_pixels: fewest pixels of the class in a slice that may be a support.

    Raises:
        ValueError: a support scan does not show a class.
    """
    tasks = []
    for label in labels:
        slices = {scan_id: cohort.support_slices(label, scan_id, n_parts, min_pixels) for scan_id in support_ids}
        tasks.append(ClassTask(cohort.data_set.class_name(label), label, slices, cohort.ranges(label, query_ids)))
    return tasks


@dataclass(frozen=True)
class PrototypesFromQuery:
    """What it takes to add prototypes of the query's own confident cells, see `segment_with_query`.

    Attributes:
        annotated: class name -> annotated slices of every part.
        window: pooling window of local prototypes, in feature pixels.
        most: prototypes that a class of a slice may get.
    """

    annotated: Mapping[str, Sequence[SupportSlices]]
    window: int
    most: int

    def segmenting(self, task: ClassTask) -> Callable[..., np.ndarray]:
        """What segments a class in place of `segment_slices`."""
        return partial(segment_with_query, supports=self.annotated[task.name], window=self.window, most=self.most)


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


def check_shown(scan: Scan, tasks: Sequence[ClassTask]) -> None:
    """Raise ValueError where a support scan, with its label, lacks a class."""
    for task in tasks:
        if not (scan.label == task.label).any():
            raise ValueError(f"support scan {scan.id} shows no {task.name}; choose another one with support_idx.")


def support_prototypes(
    model: FewShotSegmenter, supports: Sequence[Scan], task: ClassTask, window: int, encode: Encode | None = None
) -> list[Prototypes]:
    """Prototypes of every part of a class, see `annotated_slices` and `prototypes_of_parts`."""
    return prototypes_of_parts(model, task, annotated_slices(model, supports, task, encode), window)


def annotated_slices(
    model: FewShotSegmenter, supports: Sequence[Scan], task: ClassTask, encode: Encode | None = None
) -> list[SupportSlices]:
    """The support scans' slices of every part of a class.

    Args:
        model: the segmenter, in evaluation mode.
        supports: support scans with labels.
        task: the class.
        encode: gives the features of whole support scans, where they are at hand; None: the slices are encoded here.

    Raises:
        ValueError: a support slice shows nothing of the class.
    """
    for scan in supports:
        check_support(scan.id, scan.label, task.support_slices[scan.id], task.label, task.name)
    by_part = []
    for part in range(task.n_parts):
        places = [(scan, task.support_slices[scan.id][part]) for scan in supports]
        if encode is None:
            slices = np.stack([scan.image[z] for scan, z in places])
            features = encode_slices(model, slices, layout=torch.contiguous_format)
        else:
            features = torch.stack([encode(scan.image)[z] for scan, z in places])
        by_part.append(SupportSlices(features, [scan.label[z] == task.label for scan, z in places]))
    return by_part


def prototypes_of_parts(
    model: FewShotSegmenter, task: ClassTask, annotated: Sequence[SupportSlices], window: int
) -> list[Prototypes]:
    """Prototypes of every part of a class, from its annotated slices.

    Args:
        model: the segmenter, in evaluation mode.
        task: the class.
        annotated: of every part.
        window: pooling window of local prototypes, in feature pixels.

    Raises:
        ValueError: a support slice shows no background.
    """
    by_part = []
    for part, own in enumerate(annotated):
        try:
            by_part.append(prototypes_of_slices(model, own.features, own.masks, window))
        except DegenerateEpisodeError as error:
            where = ", ".join(f"scan {scan_id} slice {z[part]}" for scan_id, z in task.support_slices.items())
            raise ValueError(f"{task.name} fills the whole support ({where}): {error}") from error
    return by_part


def parts_by_range(task: ClassTask, query: Scan) -> np.ndarray:
    """Part of every slice of a query by the paper protocol, (Z,): by its place in the class's range."""
    return parts_of_range(len(query.image), *task.ranges[query.id], task.n_parts)


def parts_by_chunks(task: ClassTask, query: Scan) -> np.ndarray:
    """Part of every slice of a query by ADNet's protocol, (Z,): slices that do not show the class have none."""
    shown = np.flatnonzero((query.label == task.label).any(axis=(1, 2)))
    return parts_of_chunks(len(query.image), shown, task.n_parts)


def evaluate_scan(
    model: FewShotSegmenter,
    query: Scan,
    tasks: Sequence[ClassTask],
    prototypes: Mapping[str, Sequence[Prototypes]],
    *,
    parts_of: Callable[[ClassTask, Scan], np.ndarray] = parts_by_range,
    encode: Encode | None = None,
    from_query: PrototypesFromQuery | None = None,
    **scoring: Any,
) -> list[ScanResult]:
    """Segment and score every class in one query scan by a published protocol.

    Args:
        model: the segmenter, in evaluation mode.
        query: scan with label.
        tasks: the classes.
        prototypes: class name -> prototypes of every part.
        parts_of: the part of every slice, which tells the protocols apart.
        encode: gives features that may be at hand; None: the query is encoded here.
        from_query: prototypes join that the query itself gives; None: none.
        scoring: of `score_scan`.
    """
    plain = encode is None
    features = encode_slices(model, query.image, layout=torch.contiguous_format) if plain else encode(query.image)
    results = []
    for task in tasks:
        mask = None
        if query.id in task.ranges:
            parts = parts_of(task, query)
            segment = segment_slices if from_query is None else from_query.segmenting(task)
            mask = segment(model, features, prototypes[task.name], parts, query.image.shape[1:]) > 0.5
        else:
            logger.warning("scan %s has no %s: left out, its scores are undefined", query.id, task.name)
        results.append(score_scan(task, query, mask, **scoring))
    return results


def score_scan(
    task: ClassTask,
    query: Scan,
    mask: np.ndarray | None,
    z_margin: int = 0,
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

    def score(scored: slice | None) -> dict[str, float]:
        if mask is None or scored is None:
            return dict.fromkeys(metrics, math.nan)
        return compute_metrics(mask[scored], query.label[scored] == task.label, spacing, metrics)

    in_range = slice_range and slice(max(slice_range[0] - z_margin, 0), slice_range[1] + z_margin + 1)
    whole = score(slice(None)) if full_volume else None
    return ScanResult(task, query.id, slice_range, mask, score(in_range), whole)
