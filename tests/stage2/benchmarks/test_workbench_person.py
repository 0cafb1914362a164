"""A person who draws from the truth: near it, with few outlines, and only what needs a correction."""

import numpy as np
import pytest
from stage2.drawn import dice

from Stage2.benchmarks.workbench_person import Effort, corrected, drawn_organs, interpolated, outlined


@pytest.fixture(scope="module")
def truth() -> np.ndarray:
    """A ball of label 2, and a box of label 5 in some of its slices, (12, 60, 60)."""
    z, y, x = np.mgrid[:12, :60, :60]
    ball = ((z - 5) / 5.2) ** 2 + ((y - 20) / 14) ** 2 + ((x - 22) / 12) ** 2 < 1
    box = (z >= 4) & (z < 8) & (y > 40) & (y < 55) & (x > 30) & (x < 50)
    return (2 * ball + 5 * box).astype(np.uint8)


def test_an_outline_is_one_stroke_for_each_piece(truth):
    two = (truth[5] > 0) & ~(np.indices((60, 60)).sum(axis=0) < 4)
    drawn, effort = outlined(two, pixel=2.0)
    assert dice(drawn, two) > 0.93
    assert effort.strokes == 2
    assert effort.length == pytest.approx(2 * (2 * np.pi * 13 + 2 * (13 + 18)), rel=0.15)
    assert outlined(np.zeros((9, 9), bool), 1.0)[1] == Effort()


def test_every_third_slice_and_the_last_are_drawn(truth):
    drawn, effort = drawn_organs(truth, [2, 5, 9], 3, pixel=1.0)
    assert effort.strokes == 5 + 2  # slices 0 3 6 9 10 of the ball, 4 and 7 of the box
    assert effort.clicks == 4
    assert min(dice(drawn == label, truth == label) for label in (2, 5)) > 0.88
    assert effort.minutes == pytest.approx((7 * 2 + effort.length / 30 + 4 * 2) / 60)


def test_between_two_slices_shapes_grow_evenly():
    small, large = np.zeros((21, 21), bool), np.zeros((21, 21), bool)
    small[8:13, 8:13], large[4:17, 4:17] = True, True
    found = interpolated({1: small, 3: large}, (5, 21, 21))
    assert [int(np.count_nonzero(one)) for one in found[[0, 1, 3, 4]]] == [0, 25, 169, 0]
    assert 70 < np.count_nonzero(found[2]) < 100


def test_only_wrong_slices_are_drawn_anew(truth):
    mask = truth.copy()
    mask[2:5] = np.roll(mask[2:5], 9, axis=1)
    fixed, effort = corrected(mask, truth, [2, 5], 3, pixel=1.0)
    assert effort.strokes == 2 + 1  # slices 2 and 4 of the ball, 4 of the box
    np.testing.assert_array_equal(fixed[5:], truth[5:])
    np.testing.assert_array_equal(fixed[:2], truth[:2])
    assert dice(fixed == 2, truth == 2) > 0.95
    assert corrected(truth, truth, [2, 5], 3, pixel=1.0)[1] == Effort(clicks=1)
