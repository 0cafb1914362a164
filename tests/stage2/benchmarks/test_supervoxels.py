"""How pseudo-labels fit organs, against plain loops, and the table of both kinds."""

import numpy as np
import pytest

from Stage2.benchmarks.supervoxels import best_dice, fit_table


def slow_dice(segment: np.ndarray, organ: np.ndarray) -> float:
    return 2 * np.count_nonzero(segment & organ) / max(np.count_nonzero(segment) + np.count_nonzero(organ), 1)


@pytest.mark.parametrize("shape", [(2, 1, 1), (2, 3, 4), (5, 4, 4)])
@pytest.mark.parametrize("linked", [False, True])
def test_best_dice_is_that_of_the_definition(shape, linked):
    rng = np.random.default_rng(0)
    segments, label = rng.integers(0, 4, shape), rng.integers(1, 3, shape)
    label[0, 0, 0], label[1, 0, 0], segments[0, 0, 0] = 1, 1, 3
    single, double = [], []
    for organ in (1, 2):
        dice = [
            [slow_dice(segments[z] == number, label[z] == organ) for number in range(1, 4)] for z in range(shape[0])
        ]
        shown = [z for z in range(shape[0]) if (label[z] == organ).any()]
        single += [max(dice[z]) for z in shown]
        for z in shown:
            if z + 1 in shown and linked:
                double.append(max((a + b) / 2 for a, b in zip(dice[z], dice[z + 1], strict=True)))
            elif z + 1 in shown:
                double.append((max(dice[z]) + max(dice[z + 1])) / 2)
    assert best_dice(segments, label, (1, 2), linked) == pytest.approx((np.mean(single), np.mean(double)))


def test_the_table_has_both_kinds_and_their_means(cohort_folder):
    title, header, rows = fit_table(cohort_folder, "CHAOST2", "SMALL", ["1", "2"])
    assert "SMALL" in title and {len(row) for row in rows} == {len(header)}
    assert [row[:2] for row in rows] == [
        (scan, name) for scan in ("1", "2", "mean") for name in ("superpixels", "supervoxels")
    ]
    for column, rounding in ((2, 0.15), (3, 0.51), (4, 0.002), (5, 0.002)):
        first, second, mean = (float(row[column]) for row in rows[1::2])
        assert mean == pytest.approx((first + second) / 2, abs=rounding)
    assert all(0 < float(row[4]) <= 1 for row in rows)


def test_a_folder_is_needed():
    with pytest.raises(ValueError, match="--fit needs --data DIR"):
        fit_table(None, "CHAOST2", "MIDDLE", ["1"])
