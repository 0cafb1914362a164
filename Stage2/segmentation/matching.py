"""Where a query slice lies in a support scan, by its likeness or its place in the body, and if an organ can be there.

No label of the query comes in, but for `parts_of_range` and `parts_of_chunks`, the published ways. Scans are
expected to be stored in one direction along z.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from torch import Tensor
from torch.nn import functional

from Stage2.datasets.folds import part_of_slice
from Stage2.models.alp import unit_length

DESCRIPTOR_GRID = 4  # cells along a side: coarse enough for another patient, fine enough to tell where organs lie
BODY_SHARE = 0.1  # a slice belongs to the body when it shows at least this share of the largest slice's body
NOWHERE = -1  # part of a slice that is not looked at
FEWEST_SLICES = 5  # of a scan whose mean tells the patient from the slice

Extent = tuple[int, int]


def slice_similarity(query: Tensor, support: Tensor) -> np.ndarray:
    """Cosine similarity of slices, (Z_q, C, h, w) and (Z_s, C, h, w) -> (Z_q, Z_s) float64.

    Each scan's mean is taken off first: it says which scanner and patient it is, not which slice. Scans of a few slices
    have no mean of their own worth taking off: both are then measured from the support's, if that has enough slices.
    """
    query, support = (
        functional.adaptive_avg_pool2d(own, DESCRIPTOR_GRID).flatten(start_dim=1) for own in (query, support)
    )
    centres = [query.mean(dim=0), support.mean(dim=0)]
    if min(len(query), len(support)) < FEWEST_SLICES:
        centres = [centres[1] if len(support) >= FEWEST_SLICES else 0.0] * 2
    query, support = (unit_length(own - centre) for own, centre in zip((query, support), centres, strict=True))
    return (query @ support.T).double().cpu().numpy()


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
    from Stage2.datasets.body import foreground_mask  # scikit-image, which only this matching needs

    areas = np.array([np.count_nonzero(foreground_mask(image, threshold)) for image in volume])
    shown = np.flatnonzero(areas >= max(BODY_SHARE * areas.max(), 1))
    return (int(shown[0]), int(shown[-1])) if len(shown) else (0, len(volume) - 1)


def positions_by_extent(depth: int, query_extent: Extent, support_extent: Extent) -> np.ndarray:
    """Place in the support of every query slice that has the same relative position in the body.

    Args:
        depth: number of query slices.
        query_extent, support_extent: first and last slice of the body.

    Returns:
        (depth,) float64 slice indices, possibly beyond the support's volume.
    """
    first, last = query_extent
    relative = (np.arange(depth) - first) / max(last - first, 1)
    return support_extent[0] + relative * (support_extent[1] - support_extent[0])


def place_slices(
    matching: str, query: Tensor, support: Tensor, query_extent: Extent, support_extent: Extent
) -> np.ndarray:
    """Place in a support scan of every query slice, (Z_q,): a slice, or with "position" a point between slices.

    Args:
        matching: "similarity": by features, in one order along z; "position": by the relative position in the body.
        query, support: features of all slices, (Z, C, h, w).
        query_extent, support_extent: first and last slice of the body; for "position".
    """
    if matching == "similarity":
        return monotone_matching(slice_similarity(query, support))
    return positions_by_extent(len(query), query_extent, support_extent)


def nearest_parts(positions: np.ndarray, support_slices: Sequence[int]) -> np.ndarray:
    """Part whose support slice lies nearest to every position, (Z,) -> (Z,) int64; the lower part where two do."""
    return np.abs(positions[:, None] - np.asarray(support_slices)[None]).argmin(axis=1)


def within_organ(positions: np.ndarray, organ_slices: Sequence[int], margin: int) -> np.ndarray:
    """Whether a place in a support scan lies in the organ's range there, or up to `margin` slices beyond, (Z,) bool."""
    return (positions >= min(organ_slices) - margin) & (positions <= max(organ_slices) + margin)


def parts_of_chunks(depth: int, shown: Sequence[int], n_parts: int) -> np.ndarray:
    """Part of every slice that shows a class, by chunks of equally many of them; NOWHERE for others, (depth,) int64.

    Args:
        depth: slices of the scan.
        shown: the C slices that show the class, ascending.
        n_parts: chunks, cut at the whole numbers of linspace(0, C, n_parts + 1); some are empty where C < n_parts.

    Source: the published loader of ADNet (Hansen et al., Medical Image Analysis 2022).
    """
    parts = np.full(depth, NOWHERE)
    bounds = np.linspace(0, len(shown), n_parts + 1).astype(int)
    for part, (first, end) in enumerate(pairwise(bounds)):
        parts[list(shown[first:end])] = part
    return parts


def parts_of_range(depth: int, first: int, last: int, n_parts: int) -> np.ndarray:
    """Part of every slice of a scan whose class range [first, last] is cut into equal parts, (depth,) int64."""
    return np.array([part_of_slice(z, first, last, n_parts) for z in range(depth)])
