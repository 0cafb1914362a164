"""Metrics of a mask against the ground truth: one table of all, their counts, and means without undefined values.

Whoever adds a metric adds an entry to METRICS: results.json, tables and records of predictions then hold it. Readers of
results iterate over what a file holds, so files of other metrics stay readable: see `metric_names`.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np


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


@dataclass(frozen=True)
class Comparison:
    """Two masks that metrics compare; what several of them need is computed once.

    Attributes:
        prediction: predicted mask, (Z, H, W), not zero on the class.
        target: ground truth, same shape.
        spacing: of the voxels along Z, H, W in mm.
    """

    prediction: np.ndarray
    target: np.ndarray
    spacing: Sequence[float] = (1.0, 1.0, 1.0)

    @cached_property
    def counts(self) -> ScanCounts:
        return overlap_counts(self.prediction, self.target)

    @cached_property
    def surface_distances(self) -> tuple[float, float]:
        """HD95 and ASSD in mm."""
        from Stage2.evaluation.surface import surface_distances  # SciPy: predictions without a truth need none

        return surface_distances(self.prediction, self.target, self.spacing)


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes:
        heading: of its column.
        compute: its value, NaN where it is undefined.
        unit: such as "mm"; empty for a share of 1.
        better: "higher" or "lower".
        digits: behind the point, in tables.
        setting: the setting of a test that asks for it; None: it is always computed.
        published: names of its scalars in a test run: per class, mean, and per scan and class.
    """

    heading: str
    compute: Callable[[Comparison], float]
    unit: str = ""
    better: str = "higher"
    digits: int = 3
    setting: str | None = None
    published: tuple[str, str, str] | None = None


# The published names are those of the published code; "al" in the last ones is its own spelling.
METRICS: dict[str, Metric] = {
    "dice": Metric(
        "Dice", lambda masks: masks.counts.dice,
        published=("mar_val_batches_classDice", "mar_val_batches_meanDice", "mar_val_batches_rawDice"),
    ),
    "precision": Metric(
        "precision", lambda masks: masks.counts.precision,
        published=("mar_val_batches_classPrec", "mar_val_batches_meanPrec", "mar_val_batches_rawPrec"),
    ),
    "recall": Metric(
        "recall", lambda masks: masks.counts.recall,
        published=("mar_val_batches_classRec", "mar_val_al_batches_meanRec", "mar_val_al_batches_rawRec"),
    ),
    "hd95_mm": Metric(
        "HD95", lambda masks: masks.surface_distances[0], "mm", "lower", 1, setting="surface_distances"
    ),
    "assd_mm": Metric(
        "ASSD", lambda masks: masks.surface_distances[1], "mm", "lower", 1, setting="surface_distances"
    ),
}  # fmt: skip


def metrics_for(settings: Mapping[str, Any]) -> list[str]:
    """Names of the metrics that a test with these settings computes."""
    return [name for name, metric in METRICS.items() if metric.setting is None or settings.get(metric.setting)]


def compute_metrics(
    prediction: np.ndarray, target: np.ndarray, spacing: Sequence[float], names: Iterable[str] | None = None
) -> dict[str, float]:
    """Metric -> its value, NaN where undefined; all metrics, or those named.

    Args:
        prediction: predicted mask, (Z, H, W), not zero on the class.
        target: ground truth, same shape.
        spacing: of the voxels along Z, H, W in mm.
        names: of the metrics.
    """
    masks = Comparison(prediction, target, spacing)
    return {name: METRICS[name].compute(masks) for name in (METRICS if names is None else names)}


def metric_names(scores: Mapping[str, Any]) -> list[str]:
    """The metrics in an entry `mean` of results.json: those of METRICS in its order, then any others."""
    known = [name for name in METRICS if name in scores]
    return known + [name for name in scores if name not in METRICS and not isinstance(scores[name], Mapping)]


def heading(name: str) -> str:
    """Heading of a metric with its unit, such as "HD95 (mm)"; a name that METRICS lacks stays as it is."""
    metric = METRICS.get(name)
    if metric is None:
        return name
    return f"{metric.heading} ({metric.unit})" if metric.unit else metric.heading


def digits(name: str) -> int:
    """Digits behind the point of a metric in tables."""
    return METRICS[name].digits if name in METRICS else 3


def mean_of_defined(values: Iterable[float]) -> float:
    """Mean of the values that are not NaN; NaN where there are none.

    The published code lets one undefined scan turn every mean into NaN; here it is left out.
    """
    defined = [value for value in values if not math.isnan(value)]
    return sum(defined) / len(defined) if defined else math.nan


def or_none(value: float) -> float | None:
    """The value; None, which JSON has, for NaN, which it has not."""
    return None if math.isnan(value) else value


def _ratio(numerator: int, denominator: int) -> float:
    return numerator / denominator if denominator else math.nan
