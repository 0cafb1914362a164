"""Cells of a query that are told for certain: from them, prototypes of the query join those of the support.

No label of the query comes in.
"""

import math

import numpy as np
import torch
from torch import Tensor

from Stage2.models.heads import Prototypes

REACH = 3  # slices to either side whose cells join
CERTAIN_FOREGROUND = 0.9  # probability above which a cell is organ for certain
CERTAIN_BACKGROUND = 0.05  # and below which it is background for certain
TOP_SHARE = 0.3  # of the cells that are more likely organ than not, at most so many may be certain
FEWEST_CELLS = 4  # of an organ: fewer may be a chance


def neighbours(z: int, looked_at: np.ndarray) -> np.ndarray:
    """Slices up to `REACH` from a slice, itself among them, that were looked at, (Z,) bool -> (N,) int64, ascending."""
    first = max(z - REACH, 0)
    return first + np.flatnonzero(looked_at[first : z + REACH + 1])


def certain_foreground(probability: Tensor) -> Tensor:
    """Cells that are organ for certain.

    Of the n cells above 0.5, the floor(0.3 n) most probable ones, and of these the ones above 0.9; the earlier one of
    equals. None where they are fewer than `FEWEST_CELLS`.

    Args:
        probability: of the organ, (N,).

    Returns:
        (K,) int64 places, ascending.
    """
    most = math.floor(TOP_SHARE * int((probability > 0.5).sum()))
    chosen = probability.argsort(descending=True, stable=True)[:most]
    chosen = chosen[probability[chosen] > CERTAIN_FOREGROUND]
    return chosen.sort().values if len(chosen) >= FEWEST_CELLS else chosen[:0]


def certain_background(probability: Tensor) -> Tensor:
    """Places of the cells that are background for certain, (N,) -> (K,) int64, ascending."""
    return torch.nonzero(probability < CERTAIN_BACKGROUND)[:, 0]


def certain_cells(features: Tensor, probability: Tensor) -> Prototypes | None:
    """Features of the cells of some slices that are told for certain, in the order of slices, rows and columns.

    Args:
        features: (Z, C, h, w).
        probability: of the organ, (Z, h, w).

    Returns:
        (N_b, C) and (N_f, C); None where no organ is certain: background alone would only push it back.
    """
    flat = probability.flatten()
    foreground = certain_foreground(flat)
    if len(foreground) == 0:
        return None
    cells = features.permute(0, 2, 3, 1).flatten(0, 2)
    return Prototypes(background=cells[certain_background(flat)], foreground=cells[foreground])
