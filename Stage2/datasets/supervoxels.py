"""What of a volume's supervoxels an episode can be made of: two successive slices of one of them."""

from collections.abc import Collection, Iterable

import numpy as np

MIN_PAIR_AREA = 200  # pixels, of the larger of both slices (Hansen et al., Medical Image Analysis 2022)


def areas_by_slice(slices: Iterable[np.ndarray]) -> np.ndarray:
    """Pixels of every supervoxel in every slice.

    Args:
        slices: of a volume, each (H, W) integers: 0 outside, supervoxels from 1.

    Returns:
        (Z, n + 1) int64 where n is the highest number; column 0 is left at 0.
    """
    counts = [np.bincount(numbers.ravel()) for numbers in slices]
    areas = np.zeros((len(counts), max((len(of_slice) for of_slice in counts), default=1)), dtype=np.int64)
    for z, of_slice in enumerate(counts):
        areas[z, : len(of_slice)] = of_slice
    areas[:, 0] = 0
    return areas


def successive_pairs(areas: np.ndarray, excluded: Collection[int] = (), min_area: int = MIN_PAIR_AREA) -> np.ndarray:
    """Pairs of successive slices that both show a supervoxel, at least one of them large enough.

    Args:
        areas: (Z, n + 1), see `areas_by_slice`.
        excluded: slices that must not be in a pair.
        min_area: pixels, of the larger of both.

    Returns:
        (P, 2) int64 rows (supervoxel, first slice), ascending.
    """
    kept = areas.copy()
    kept[list(excluded)] = 0
    both = (np.minimum(kept[:-1], kept[1:]) > 0) & (np.maximum(kept[:-1], kept[1:]) >= min_area)
    return np.argwhere(both.T)


def pair_chances(pairs: np.ndarray, areas: np.ndarray, excluded: Collection[int] = ()) -> np.ndarray:
    """Chance of every usable pair, as if a supervoxel with two successive slices were drawn, then two of its slices.

    That draw is repeated until the larger area will do, so a usable pair keeps its chance among all pairs.

    Args:
        pairs: (P, 2), see `successive_pairs`.
        areas: that they are from.
        excluded: that they leave out.

    Returns:
        (P,) float64, of sum 1 where there are any.
    """
    candidates = successive_pairs(areas, excluded, min_area=1)
    chances = 1 / np.bincount(candidates[:, 0], minlength=areas.shape[1])[pairs[:, 0]]
    return chances / chances.sum()
