"""The clean protocol: every query slice finds its support slice without the query's label, which only scores it.

A query slice is placed in a support scan, either by the similarity of features or by its relative position in the
body; the nearest of the support's slices, one for each part of the organ, is its support. As in the paper protocol
every slice is segmented, also those far from the organ. Scans are expected to be stored in one direction along z.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from Stage2.datasets.body import foreground_mask
from Stage2.datasets.volumes import Scan
from Stage2.evaluation.protocol import OVERLAP, ClassTask, ScanResult, encode_slices, score_scan, segment_slices
from Stage2.models.alp import unit_length
from Stage2.models.few_shot import FewShotSegmenter, Prototypes

MATCHINGS = ("similarity", "position")
DESCRIPTOR_GRID = 4  # cells along a side: coarse enough for another patient, fine enough to tell where organs lie
BODY_SHARE = 0.1  # a slice belongs to the body when it shows at least this share of the largest slice's body

Extent = tuple[int, int]


def slice_descriptors(features: Tensor) -> Tensor:
    """What a slice looks like beside the others of its scan, (Z, C, h, w) -> (Z, D) of unit length.

    The mean over the scan is taken off: it says which scanner and patient it is, not which slice.
    """
    coarse = functional.adaptive_avg_pool2d(features, DESCRIPTOR_GRID).flatten(start_dim=1)
    return unit_length(coarse - coarse.mean(dim=0))


def slice_similarity(query_features: Tensor, support_features: Tensor) -> np.ndarray:
    """Cosine similarity of slices, (Z_q, C, h, w) and (Z_s, C, h, w) -> (Z_q, Z_s) float64."""
    return (slice_descriptors(query_features) @ slice_descriptors(support_features).T).double().cpu().numpy()


def monotone_matching(similarity: np.ndarray) -> np.ndarray:
    """Support slice of every query slice, in one order along z: the non-decreasing matching of the largest sum.

    Args:
        similarity: of query and support slices, (Z_q, Z_s).

    Returns:
        (Z_q,) int64, values in [0, Z_s); the lower slice where sums are equal.
    """
    n_query, n_support = similarity.shape
    columns = np.arange(n_support)
    came_from = np.zeros((n_query, n_support), dtype=np.int64)
    total = similarity[0]
    for z in range(1, n_query):
        best = np.maximum.accumulate(total)
        rises = np.concatenate([[True], total[1:] > best[:-1]])
        came_from[z] = np.maximum.accumulate(np.where(rises, columns, 0))
        total = best + similarity[z]
    matched = np.empty(n_query, dtype=np.int64)
    matched[-1] = total.argmax()
    for z in range(n_query - 1, 0, -1):
        matched[z - 1] = came_from[z, matched[z]]
    return matched


def body_extent(volume: np.ndarray, threshold: float) -> Extent:
    """First and last slice of the body, from intensities alone; the whole volume where nothing is above the threshold.

    Args:
        volume: processed volume as stored, (Z, H, W).
        threshold: foreground threshold of the data set.
    """
    areas = np.array([np.count_nonzero(foreground_mask(image, threshold)) for image in volume])
    shown = np.flatnonzero(areas >= max(BODY_SHARE * areas.max(), 1))
    return (int(shown[0]), int(shown[-1])) if len(shown) else (0, len(volume) - 1)


def positions_by_extent(depth: int, query_extent: Extent, support_extent: Extent) -> np.ndarray:
    """Place in the support of every query slice that has the same relative position in the body.

    Args:
        depth: number of query slices.
        query_extent: first and last slice of the query's body.
        support_extent: the same of the support.

    Returns:
        (depth,) float64 slice indices, possibly beyond the support's volume.
    """
    first, last = query_extent
    relative = (np.arange(depth) - first) / max(last - first, 1)
    return support_extent[0] + relative * (support_extent[1] - support_extent[0])


def nearest_parts(positions: np.ndarray, support_slices: Sequence[int]) -> np.ndarray:
    """Part whose support slice lies nearest to every position, (Z,) -> (Z,) int64; the lower part where two do."""
    return np.abs(positions[:, None] - np.asarray(support_slices)[None]).argmin(axis=1)


def parts_of_slices(positions: Mapping[str, np.ndarray], task: ClassTask) -> list[int]:
    """Part of every query slice: that of its place in the support scan; of several support scans, their mean, rounded.

    Args:
        positions: support scan id -> place of every query slice in it, (Z,).
        task: the class; only its support slices are used.
    """
    parts = [nearest_parts(positions[scan_id], slices) for scan_id, slices in task.support_slices.items()]
    return np.floor(np.mean(parts, axis=0) + 0.5).astype(int).tolist()


class SliceMatcher:
    """Places the slices of a query in the support scans.

    Args:
        matching: one of MATCHINGS.
        support_features: support scan id -> features of all its slices, (Z, C, h, w); for "similarity".
        extents: scan id -> first and last slice of the body, of supports and queries; for "position".
    """

    def __init__(
        self,
        matching: str,
        support_features: Mapping[str, Tensor] | None = None,
        extents: Mapping[str, Extent] | None = None,
    ):
        if matching not in MATCHINGS:
            raise ValueError(f"slice_matching={matching} is unknown; choose one of {', '.join(MATCHINGS)}.")
        self.matching = matching
        self.support_features = support_features or {}
        self.extents = extents or {}

    def positions(self, query_id: str, query_features: Tensor, support_ids: Sequence[str]) -> dict[str, np.ndarray]:
        """Support scan id -> place of every query slice in it, (Z,)."""
        if self.matching == "similarity":
            return {
                scan_id: monotone_matching(slice_similarity(query_features, self.support_features[scan_id]))
                for scan_id in support_ids
            }
        own = self.extents[query_id]
        return {
            scan_id: positions_by_extent(len(query_features), own, self.extents[scan_id]) for scan_id in support_ids
        }


@torch.no_grad()
def predict_scan(
    model: FewShotSegmenter,
    query_id: str,
    image: np.ndarray,
    tasks: Sequence[ClassTask],
    prototypes: Mapping[str, Sequence[Prototypes]],
    matcher: SliceMatcher,
) -> list[np.ndarray]:
    """Mask of every class in a query scan, (Z, H, W) bool each. No label of the query comes in here.

    Args:
        model: the segmenter, in evaluation mode.
        query_id: id of the scan.
        image: normalised slices, (Z, H, W) float32.
        tasks: the classes; only their support slices are used.
        prototypes: class name -> prototypes of every part.
        matcher: places the slices in the support scans.
    """
    features = encode_slices(model, image)
    positions = matcher.positions(query_id, features, list(tasks[0].support_slices))
    return [
        segment_slices(model, features, prototypes[task.name], parts_of_slices(positions, task), image.shape[1:])
        for task in tasks
    ]


def evaluate_scan_cleanly(
    model: FewShotSegmenter,
    query: Scan,
    tasks: Sequence[ClassTask],
    prototypes: Mapping[str, Sequence[Prototypes]],
    matcher: SliceMatcher,
    z_margin: int,
    spacing: Sequence[float] = (1.0, 1.0, 1.0),
    metrics: Sequence[str] = OVERLAP,
) -> list[ScanResult]:
    """Segment every class in one query scan, then score it over its class range and over the full volume.

    A scan without the class is segmented too: its full volume counts what is wrongly found.

    Args:
        model, tasks, prototypes, matcher: as in `predict_scan`.
        query: scan with label, which is read after all masks are made.
        z_margin: slices scored beyond the class's range, on either side.
        spacing: of the voxels along Z, H, W in mm.
        metrics: to compute.
    """
    masks = predict_scan(model, query.id, query.image, tasks, prototypes, matcher)
    return [
        score_scan(task, query, mask, z_margin, full_volume=True, spacing=spacing, metrics=metrics)
        for task, mask in zip(tasks, masks, strict=True)
    ]
