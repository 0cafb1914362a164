"""Scores over supports against plain loops, and what holds of any of them."""

import math
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from Stage2.evaluation.over_supports import interval, means_of_supports, over_supports


def rows(dice: dict[tuple[str, str], float | None]) -> list[dict]:
    return [{"class": name, "scan": scan, "dice": value} for (name, scan), value in dice.items()]


FOLD = {
    "4": rows({("A", "0"): 0.5, ("A", "1"): 0.7, ("B", "0"): 0.2, ("B", "1"): None}),
    "0": rows({("A", "1"): 0.9, ("B", "1"): 0.1}),
}  # fmt: skip


def plain_mean(fold: dict, drawn: list[str]) -> float:
    """Mean over supports of the mean over classes of the mean over drawn scans, undefined ones left out."""
    of_supports = []
    for entries in fold.values():
        of_classes = []
        for name in ("A", "B"):
            found = [row["dice"] for scan in drawn for row in entries if (row["class"], row["scan"]) == (name, scan)]
            defined = [value for value in found if value is not None]
            of_classes += [sum(defined) / len(defined)] if defined else []
        of_supports += [sum(of_classes) / len(of_classes)] if of_classes else []
    return sum(of_supports) / len(of_supports) if of_supports else math.nan


def test_scores_of_a_fold():
    over = over_supports([FOLD])
    first, second = (0.6 + 0.2) / 2, (0.9 + 0.1) / 2
    assert over.mean == pytest.approx(plain_mean(FOLD, ["0", "1"])) == pytest.approx((first + second) / 2)
    assert over.sd == pytest.approx(statistics.stdev([first, second]))
    assert (over.worst, over.worst_support, over.best, over.best_support) == (
        pytest.approx(first), "4", pytest.approx(second), "0",
    )  # fmt: skip
    assert (over.supports, over.scans) == (2, 2)
    of_a = over_supports([FOLD], "A")
    assert (of_a.worst, of_a.best) == (pytest.approx(0.6), pytest.approx(0.9))
    lower = over_supports([FOLD], "A", better="lower")
    assert (lower.worst_support, lower.best_support) == ("0", "4")


def test_several_folds_are_averaged():
    other = {"9": rows({("A", "5"): 0.3, ("B", "5"): 0.3})}
    over = over_supports([FOLD, other])
    assert over.mean == pytest.approx((over_supports([FOLD]).mean + 0.3) / 2)
    assert (over.worst_support, over.best_support, over.supports, over.scans) == (None, None, 3, 3)
    assert over.sd == over_supports([FOLD]).sd  # one support has none


def test_the_interval_is_that_of_a_plain_bootstrap():
    rng = np.random.default_rng(1234)
    drawn = []
    for counts in rng.multinomial(2, [0.5, 0.5], size=2000):
        drawn.append(plain_mean(FOLD, ["0"] * counts[0] + ["1"] * counts[1]))
    expected = np.quantile(drawn, [0.025, 0.975])
    over = over_supports([FOLD])
    assert (over.low, over.high) == pytest.approx(tuple(expected))
    assert (over.low, over.high) == (over_supports([FOLD]).low, over_supports([FOLD]).high)


def test_nothing_defined_and_a_single_scan():
    empty = over_supports([{"4": rows({("A", "0"): None})}])
    assert all(math.isnan(value) for value in (empty.mean, empty.sd, empty.worst, empty.best, empty.low))
    assert (empty.worst_support, empty.best_support) == (None, None)
    alone = over_supports([{"4": rows({("A", "0"): 0.4})}])
    assert alone.mean == alone.worst == alone.best == 0.4 and math.isnan(alone.low) and math.isnan(alone.sd)


TABLES = st.integers(2, 5).flatmap(
    lambda scans: st.lists(st.lists(st.floats(0, 1), min_size=scans, max_size=scans), min_size=1, max_size=4).map(
        lambda supports: np.array(supports)[:, None]
    )
)  # (supports, 1 class, scans)


@given(TABLES)
def test_the_interval_lies_within_the_scores_and_holds_equal_ones(table):
    low, high = interval([table], table.shape[-1], draws=100)
    assert table.min() - 1e-9 <= low <= high <= table.max() + 1e-9
    same = np.full_like(table, 0.5)
    assert interval([same], table.shape[-1], draws=20) == pytest.approx((0.5, 0.5))


@given(TABLES)
def test_the_order_of_supports_moves_no_mean(table):
    ones = np.ones((1, table.shape[-1]))
    means = means_of_supports(table, ones)[0]
    assert means == pytest.approx(table.mean(axis=2)[:, 0])
    assert means_of_supports(table[::-1], ones)[0] == pytest.approx(means[::-1])
