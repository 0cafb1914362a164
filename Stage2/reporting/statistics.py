"""Numbers of tables: mean and spread over folds, and the paired test between two experiments."""

import math
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy.stats import PermutationMethod, wilcoxon

ALL_SIGNS_UP_TO = 12  # pairs: 4096 patterns of signs
EXACT_UP_TO = 50  # pairs


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation of the defined ones of some values.

    Attributes:
        mean: None where no value is defined.
        sd: with n - 1 in the denominator; None below two values.
        count: defined values.
        undefined: those left out.
    """

    mean: float | None
    sd: float | None
    count: int
    undefined: int


@dataclass(frozen=True)
class PairedTest:
    """Wilcoxon's signed-rank test of paired values, two-sided.

    Attributes:
        pairs: used.
        left_out: pairs of which either value is undefined or missing.
        first, second: means of the pairs' values.
        median_difference: of second - first.
        p_value: None where there is no pair.
        least_p_value: the smallest that so many pairs can give, 2 / 2^n.
    """

    pairs: int
    left_out: int
    first: float | None
    second: float | None
    median_difference: float | None
    p_value: float | None
    least_p_value: float | None


def spread(values: Iterable[float | None]) -> Spread:
    """Mean and standard deviation; None and NaN are left out and counted."""
    values = list(values)
    defined = [value for value in values if _is_defined(value)]
    return Spread(
        mean=float(np.mean(defined)) if defined else None,
        sd=float(np.std(defined, ddof=1)) if len(defined) > 1 else None,
        count=len(defined),
        undefined=len(values) - len(defined),
    )


def paired_test(first: Mapping[Hashable, float | None], second: Mapping[Hashable, float | None]) -> PairedTest:
    """Test whether the values of the second differ from those of the first under the same keys.

    Up to 12 pairs are tested against all patterns of signs, which holds for equal and zero differences too; up to 50
    by the exact distribution, where no two differences are equal and none is zero; others by its normal approximation.
    Zero differences keep their ranks (Pratt). Where no pair differs, p is 1.

    Source: Wilcoxon, Biometrics Bulletin 1945; Pratt, JASA 1959.
    """
    keys = {*first, *second}
    paired = sorted((key for key in keys if _is_defined(first.get(key)) and _is_defined(second.get(key))), key=str)
    if not paired:
        return PairedTest(0, len(keys), None, None, None, None, None)
    before, after = (np.array([values[key] for key in paired], dtype=np.float64) for values in (first, second))
    difference = after - before
    differing = int(np.count_nonzero(difference))
    p_value = 1.0
    if differing:
        distinct = differing == len(difference) == len(np.unique(np.abs(difference)))
        method = "exact" if distinct and len(difference) <= EXACT_UP_TO else "approx"
        if 1 < len(difference) <= ALL_SIGNS_UP_TO:
            method = PermutationMethod(n_resamples=2**ALL_SIGNS_UP_TO)
        p_value = float(wilcoxon(difference, zero_method="pratt", method=method).pvalue)
    return PairedTest(
        pairs=len(paired),
        left_out=len(keys) - len(paired),
        first=float(before.mean()),
        second=float(after.mean()),
        median_difference=float(np.median(difference)),
        p_value=p_value,
        least_p_value=min(1.0, 2.0 ** (1 - len(paired))),
    )


def _is_defined(value: float | None) -> bool:
    return value is not None and not math.isnan(value)
