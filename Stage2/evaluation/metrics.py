"""Overlap metrics: Dice, precision and recall from pixel counts, and means that leave undefined values out."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

SCORES = ("dice", "precision", "recall")


@dataclass(frozen=True)
class ScanCounts:
    """Pixels of one class in one scan (or part of it); counts of disjoint parts add up.

    A score whose denominator is zero is NaN: Dice where neither mask has a pixel, precision where nothing is
    predicted, recall where there is nothing to find.

    Attributes:
        intersection: pixels in both masks.
        predicted: pixels in the predicted mask.
        target: pixels in the ground truth.
    """

    intersection: int = 0
    predicted: int = 0
    target: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.intersection <= min(self.predicted, self.target):
            raise ValueError(
                f"{self} is impossible: the intersection must lie between 0 and the smaller of the two masks."
            )

    def __add__(self, other: "ScanCounts") -> "ScanCounts":
        return ScanCounts(
            self.intersection + other.intersection, self.predicted + other.predicted, self.target + other.target
        )

    @property
    def dice(self) -> float:
        """2 |P and T| / (|P| + |T|), in [0, 1] or NaN."""
        return _ratio(2 * self.intersection, self.predicted + self.target)

    @property
    def precision(self) -> float:
        """|P and T| / |P|, in [0, 1] or NaN."""
        return _ratio(self.intersection, self.predicted)

    @property
    def recall(self) -> float:
        """|P and T| / |T|, in [0, 1] or NaN."""
        return _ratio(self.intersection, self.target)


def overlap_counts(prediction: np.ndarray, target: np.ndarray) -> ScanCounts:
    """Counts of two masks of one shape; a pixel belongs to a mask where it is not zero.

    Args:
        prediction: predicted mask, any shape, for example (Z, H, W).
        target: ground truth, same shape.
    """
    if prediction.shape != target.shape:
        raise ValueError(f"the prediction has shape {prediction.shape}, the target {target.shape}; they must agree.")
    return ScanCounts(
        intersection=int(np.count_nonzero(np.logical_and(prediction, target))),
        predicted=int(np.count_nonzero(prediction)),
        target=int(np.count_nonzero(target)),
    )


def mean_of_defined(values: Iterable[float]) -> float:
    """Mean of the values that are not NaN; NaN where there are none.

    The published code lets one undefined scan turn every mean into NaN; here it is left out.
    """
    defined = [value for value in values if not math.isnan(value)]
    return sum(defined) / len(defined) if defined else math.nan


def _ratio(numerator: int, denominator: int) -> float:
    return numerator / denominator if denominator else math.nan
