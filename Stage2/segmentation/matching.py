"""Which slice of a support scan a query slice is like, and whether the organ can be there at all."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor
from torch.nn import functional

from Stage2.evaluation.clean_protocol import (
    DESCRIPTOR_GRID,
    Extent,
    monotone_matching,
    positions_by_extent,
    slice_similarity,
)
from Stage2.models.alp import unit_length

FEWEST_SLICES = 5  # of a scan whose mean tells the patient from the slice


def place_by_content(query: Tensor, support: Tensor) -> np.ndarray:
    """Support slice that every query slice is like, in one order along z, (Z_q, C, h, w), (Z_s, C, h, w) -> (Z_q,).

    Scans of a few slices have no mean of their own worth taking off: both are then measured from the support's.
    """
    if min(len(query), len(support)) >= FEWEST_SLICES:
        return monotone_matching(slice_similarity(query, support))
    coarse = [functional.adaptive_avg_pool2d(own, DESCRIPTOR_GRID).flatten(start_dim=1) for own in (query, support)]
    centre = coarse[1].mean(dim=0) if len(support) >= FEWEST_SLICES else 0.0
    descriptors = [unit_length(own - centre) for own in coarse]
    return monotone_matching((descriptors[0] @ descriptors[1].T).double().cpu().numpy())


def place_slices(
    matching: str, query: Tensor, support: Tensor, query_extent: Extent, support_extent: Extent
) -> np.ndarray:
    """Place in a support scan of every query slice, (Z_q,): a slice, or with "position" a point between slices.

    Args:
        matching: "similarity" or "position", as in `Stage2.evaluation.clean_protocol`.
        query, support: features of all slices, (Z, C, h, w).
        query_extent, support_extent: first and last slice of the body; for "position".
    """
    if matching == "similarity":
        return place_by_content(query, support)
    return positions_by_extent(len(query), query_extent, support_extent)


def within_organ(positions: np.ndarray, organ_slices: Sequence[int], margin: int) -> np.ndarray:
    """Whether a place in a support scan lies in the organ's range there, or up to `margin` slices beyond, (Z,) bool."""
    return (positions >= min(organ_slices) - margin) & (positions <= max(organ_slices) + margin)
