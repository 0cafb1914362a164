"""The paired test between two experiments."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

ALL_SIGNS_UP_TO = 12  # pairs: 4096 patterns of signs
EXACT_UP_TO = 50  # pairs


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
    first: float | None = None
    second: float | None = None
    median_difference: float | None = None
    p_value: float | None = None
    least_p_value: float | None = None


def paired_test(
    first: Mapping[Hashable, float | None] | pd.Series, second: Mapping[Hashable, float | None] | pd.Series
) -> PairedTest:
    """Test whether the values of the second differ from those of the first under the same keys.

    Up to 12 pairs are tested against all patterns of signs, which holds for equal and zero differences too; up to 50
    by the exact distribution, where no two differences are equal and none is zero; others by its normal approximation.
    Zero differences keep their ranks (Pratt). Where no pair differs, p is 1.

    Source: Wilcoxon, Biometrics Bulletin 1945; Pratt, JASA 1959.
    """
    both = pd.DataFrame({"first": pd.Series(first, dtype=float), "second": pd.Series(second, dtype=float)})
    pairs = both.dropna()
    if pairs.empty:
        return PairedTest(0, len(both))
    difference = (pairs["second"] - pairs["first"]).to_numpy()
    differing = int(np.count_nonzero(difference))
    p_value = 1.0
    if differing:
        from scipy.stats import PermutationMethod, wilcoxon  # here, as it takes a second to load and few tables need it

        distinct = differing == len(difference) == len(np.unique(np.abs(difference)))
        method = "exact" if distinct and len(difference) <= EXACT_UP_TO else "approx"
        if 1 < len(difference) <= ALL_SIGNS_UP_TO:
            method = PermutationMethod(n_resamples=2**ALL_SIGNS_UP_TO)
        p_value = float(wilcoxon(difference, zero_method="pratt", method=method).pvalue)
    return PairedTest(
        pairs=len(pairs), left_out=len(both) - len(pairs), first=float(pairs["first"].mean()),
        second=float(pairs["second"].mean()), median_difference=float(np.median(difference)), p_value=p_value,
        least_p_value=min(1.0, 2.0 ** (1 - len(pairs))),
    )  # fmt: skip
