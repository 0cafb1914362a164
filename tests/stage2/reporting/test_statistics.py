"""The paired test against counting every sign."""

from itertools import product

import numpy as np
import pytest

from Stage2.reporting.statistics import paired_test


def counted_p_value(differences: list[float]) -> float:
    """Share of all sign patterns whose rank sum is as far from its mean as the one found."""
    sizes = [round(abs(value), 9) for value in differences]
    ranks = np.array([(sum(o < s for o in sizes) + sum(o <= s for o in sizes) + 1) / 2 for s in sizes])
    ranks[np.array(sizes) == 0] = 0
    centre = ranks.sum() / 2
    found = abs(ranks[np.array(differences) > 0].sum() - centre)
    patterns = list(product((0, 1), repeat=len(ranks)))
    return sum(abs(np.dot(pattern, ranks) - centre) >= found - 1e-9 for pattern in patterns) / len(patterns)


@pytest.mark.parametrize(
    "differences",
    [
        [0.1],
        [0.1, 0.2, 0.3],
        [0.1, -0.2, 0.3, 0.15, -0.01],
        [0.25, 0.25, -0.125, 0.25],
        [0.25, 0.0, 0.25, -0.125, 0.0],
        [0.01 * (n + 1) * (-1 if n % 4 == 0 else 1) for n in range(14)],
    ],
)
def test_the_paired_test_equals_counting_every_sign(differences: list[float]):
    first = dict.fromkeys(range(len(differences)), 0.5)
    test = paired_test(first, {number: 0.5 + value for number, value in enumerate(differences)})
    assert test.p_value == pytest.approx(counted_p_value(differences), rel=1e-6)
    assert test.least_p_value == 2 / 2 ** len(differences)
    assert test.median_difference == pytest.approx(np.median(differences))
    swapped = paired_test({number: 0.5 + value for number, value in enumerate(differences)}, first)
    assert swapped.p_value == pytest.approx(test.p_value)


def test_pairs_without_both_values_are_left_out_and_counted():
    test = paired_test({"a": 0.1, "b": None, "c": 0.3, "d": 0.5}, {"a": 0.2, "b": 0.5, "c": float("nan"), "e": 0.1})
    assert (test.pairs, test.left_out, test.first, test.second) == (1, 4, 0.1, 0.2)
    assert paired_test({"a": None}, {"b": 0.5}).p_value is None


def test_equal_experiments_do_not_differ():
    values = {number: number / 10 for number in range(8)}
    assert paired_test(values, values).p_value == 1
    one_differs = paired_test(values, values | {7: 0.8})
    assert 0.05 < one_differs.p_value <= 1
