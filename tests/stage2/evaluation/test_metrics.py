"""Overlap metrics against sets of pixels, and the rules for undefined values."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from Stage2.evaluation.metrics import (
    METRICS,
    ScanCounts,
    heading,
    mean_of_defined,
    metric_names,
    metrics_for,
    overlap_counts,
)

OVERLAP = ("dice", "precision", "recall")
SHAPE = (2, 4, 3)
masks = arrays.arrays(np.bool_, SHAPE)
volumes = arrays.arrays(np.uint8, SHAPE, elements=st.integers(0, 3))


def scores_from_sets(prediction: np.ndarray, target: np.ndarray) -> dict[str, float]:
    """The definitions word for word, on sets of pixel coordinates."""
    predicted = {place for place in np.ndindex(prediction.shape) if prediction[place]}
    wanted = {place for place in np.ndindex(target.shape) if target[place]}
    both = len(predicted & wanted)
    fractions = {
        "dice": (2 * both, len(predicted) + len(wanted)),
        "precision": (both, len(predicted)),
        "recall": (both, len(wanted)),
    }
    return {name: top / bottom if bottom else math.nan for name, (top, bottom) in fractions.items()}


@settings(deadline=None)
@given(masks, masks)
def test_scores_equal_those_of_sets_of_pixels(prediction, target):
    counts = overlap_counts(prediction, target)
    for name, expected in scores_from_sets(prediction, target).items():
        assert getattr(counts, name) == pytest.approx(expected, nan_ok=True), name


@settings(deadline=None)
@given(masks, masks)
def test_swapping_the_masks_keeps_dice_and_swaps_precision_and_recall(prediction, target):
    one, other = overlap_counts(prediction, target), overlap_counts(target, prediction)
    assert (one.dice, one.precision) == pytest.approx((other.dice, other.recall), nan_ok=True)


@settings(deadline=None)
@given(masks, masks)
def test_counts_of_slices_add_up_to_those_of_the_volume(prediction, target):
    slices = [overlap_counts(*pair) for pair in zip(prediction, target, strict=True)]
    assert sum(slices, start=ScanCounts()) == overlap_counts(prediction, target)


@settings(deadline=None)
@given(volumes, volumes, st.permutations([1, 2, 3]))
def test_a_permuted_class_order_permutes_the_dice(prediction, target, order):
    new_value = np.array([0, *order])
    for label in (1, 2, 3):
        before = overlap_counts(prediction == label, target == label)
        renamed = new_value[label]
        assert overlap_counts(new_value[prediction] == renamed, new_value[target] == renamed) == before


def test_dice_of_a_scan_is_not_the_mean_over_its_slices():
    counts = ScanCounts(0, 1, 1) + ScanCounts(9, 9, 9)
    assert counts.dice == pytest.approx(0.9)


def test_label_values_other_than_one_count_as_one_pixel():
    assert overlap_counts(np.array([0, 2, 255]), np.array([0, 1, 0])) == ScanCounts(1, 2, 1)


@pytest.mark.parametrize(
    ("counts", "undefined"),
    [
        (ScanCounts(0, 0, 0), {"dice", "precision", "recall"}),
        (ScanCounts(0, 0, 5), {"precision"}),
        (ScanCounts(0, 5, 0), {"recall"}),
        (ScanCounts(0, 5, 5), set()),
    ],
)
def test_only_zero_over_zero_is_undefined(counts, undefined):
    assert {name for name in OVERLAP if math.isnan(getattr(counts, name))} == undefined
    assert all(getattr(counts, name) == 0 for name in set(OVERLAP) - undefined)


def test_undefined_values_are_left_out_of_means():
    assert mean_of_defined([0.25, math.nan, 0.75]) == 0.5
    assert math.isnan(mean_of_defined([math.nan]))
    assert math.isnan(mean_of_defined([]))


def test_masks_of_different_shapes_are_refused():
    with pytest.raises(ValueError, match=r"\(1, 3\).*\(3,\)"):
        overlap_counts(np.zeros((1, 3)), np.zeros(3))


@pytest.mark.parametrize("counts", [(2, 1, 5), (2, 5, 1), (-1, 5, 5)])
def test_impossible_counts_are_refused(counts):
    with pytest.raises(ValueError, match="impossible"):
        ScanCounts(*counts)


def test_what_a_file_holds_is_read_whatever_the_table_says():
    assert metrics_for({}) == list(OVERLAP)
    assert metrics_for({"surface_distances": True}) == [*OVERLAP, "hd95_mm", "assd_mm"]
    old = {"recall": 0.5, "dice": 0.5, "clarity": 1.0, "full_volume": {"dice": 0.4}}
    assert metric_names(old) == ["dice", "recall", "clarity"]
    assert [heading(name) for name in ("dice", "hd95_mm", "clarity")] == ["Dice", "HD95 (mm)", "clarity"]
    assert {metric.better for metric in METRICS.values()} == {"higher", "lower"}
