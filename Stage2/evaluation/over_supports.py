"""What a test says over all support scans: mean, deviation, worst and best support, and an interval over scans.

The mean is that over supports of the mean over classes of the mean over scans. The interval is the bootstrap's: test
scans are drawn anew with replacement, for all supports and classes at once, and the mean is taken of what was drawn.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from Stage2.evaluation.metrics import mean_of_defined

DRAWS = 2000
SEED = 1234  # of the draws: one table gives the same interval every time
SHARE = 0.95  # of the draws that lie in the interval

Rows = Sequence[Mapping[str, Any]]  # "class", "scan" and scores, as in results.json


@dataclass(frozen=True)
class OverSupports:
    """A score over supports; of several folds, the mean of each over folds.

    Attributes:
        mean, sd, worst, best: over supports; sd is that of a sample, NaN for one support.
        low, high: ends of the interval of the mean, NaN for one scan.
        worst_support, best_support: their scans; None for several folds.
        supports, scans: how many there were.
    """

    mean: float
    sd: float
    worst: float
    best: float
    low: float
    high: float
    worst_support: str | None
    best_support: str | None
    supports: int
    scans: int


def over_supports(
    folds: Sequence[Mapping[str, Rows]], class_name: str | None = None, metric: str = "dice", better: str = "higher"
) -> OverSupports:
    """A score over supports.

    Args:
        folds: for every fold, support scan -> scores of its test scans.
        class_name: the class; None: the mean over classes.
        metric: the score.
        better: "higher" or "lower", which tells the worst support from the best.
    """
    rows = [row for fold in folds for of_support in fold.values() for row in of_support]
    classes = [class_name] if class_name is not None else list(dict.fromkeys(row["class"] for row in rows))
    scans = list(dict.fromkeys(row["scan"] for row in rows))
    tables = [np.stack([_table(own, classes, scans, metric) for own in fold.values()]) for fold in folds]
    by_fold = [means_of_supports(table, np.ones((1, len(scans))))[0] for table in tables]
    sign = 1 if better == "higher" else -1
    defined = [own for own in by_fold if not np.isnan(own).all()]
    # of every fold, the places of the worst support and of the best
    ends = [[int(np.nanargmin(sign * own)), int(np.nanargmax(sign * own))] for own in defined]
    extremes = [own[places] for own, places in zip(defined, ends, strict=True)]
    names = [list(folds[0])[place] for place in ends[0]] if len(folds) == 1 and ends else [None, None]

    def of_folds(values: Sequence[float]) -> float:
        return mean_of_defined(map(float, values))

    low, high = interval(tables, len(scans))
    return OverSupports(
        mean=of_folds([mean_of_defined(means) for means in by_fold]),
        sd=of_folds([_deviation(means[~np.isnan(means)]) for means in by_fold]),
        worst=of_folds([worst for worst, _ in extremes]), best=of_folds([best for _, best in extremes]),
        low=low, high=high, worst_support=names[0], best_support=names[1],
        supports=sum(map(len, by_fold)), scans=len(scans),
    )  # fmt: skip


def means_of_supports(table: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean over classes of the weighted mean over scans, for every support; NaN where nothing is defined.

    Args:
        table: scores, (supports, classes, scans), NaN where undefined or not tested.
        weights: how often each scan counts, (draws, scans).

    Returns:
        (draws, supports).
    """
    defined = ~np.isnan(table)
    total = np.einsum("scn,bn->bsc", np.where(defined, table, 0.0), weights)
    counted = np.einsum("scn,bn->bsc", defined.astype(float), weights)
    of_class = np.divide(total, counted, out=np.full_like(total, np.nan), where=counted > 0)
    return _mean_of_last(of_class)


def interval(tables: Sequence[np.ndarray], n_scans: int, draws: int = DRAWS, seed: int = SEED) -> tuple[float, float]:
    """Ends of the percentile bootstrap's interval of the mean over folds of the mean over supports.

    Args:
        tables: of every fold, as in `means_of_supports`; the scans are those of all folds.
        n_scans: how many they are.
        draws: of the scans.
        seed: of the draws.

    Source: Efron, Annals of Statistics 1979.
    """
    if n_scans < 2:
        return math.nan, math.nan
    weights = np.random.default_rng(seed).multinomial(n_scans, np.full(n_scans, 1 / n_scans), size=draws).astype(float)
    drawn = _mean_of_last(np.stack([_mean_of_last(means_of_supports(table, weights)) for table in tables], axis=-1))
    drawn = drawn[~np.isnan(drawn)]
    if not len(drawn):
        return math.nan, math.nan
    low, high = np.quantile(drawn, [(1 - SHARE) / 2, (1 + SHARE) / 2])
    return float(low), float(high)


def _table(rows: Rows, classes: Sequence[str], scans: Sequence[str], metric: str) -> np.ndarray:
    """(classes, scans) of one support."""
    table = np.full((len(classes), len(scans)), np.nan)
    for row in rows:
        if row["class"] in classes and row.get(metric) is not None:
            table[classes.index(row["class"]), scans.index(row["scan"])] = row[metric]
    return table


def _mean_of_last(values: np.ndarray) -> np.ndarray:
    """Mean of the defined values along the last axis; NaN where there are none."""
    defined = ~np.isnan(values)
    counted = defined.sum(axis=-1)
    total = np.where(defined, values, 0.0).sum(axis=-1)
    return np.divide(total, counted, out=np.full_like(total, np.nan), where=counted > 0)


def _deviation(values: np.ndarray) -> float:
    return float(values.std(ddof=1)) if len(values) > 1 else math.nan
