"""The golden numbers that come with the repository are those of the full set, and small."""

import numpy as np
import pytest

from golden.weights import FULL, GOLDEN, SUBSET, load_golden, sampled

FILES = sorted(path.name for path in SUBSET.glob("*.npz"))


def test_the_subset_is_small_and_shows_every_rule():
    assert sum(path.stat().st_size for path in SUBSET.rglob("*") if path.is_file()) <= 5_000_000
    shown = {name.partition(".")[0].partition("_")[0] for name in FILES}
    assert shown == {"s1a", "s2a", "s2b", "s2c", "s2d", "s2e", "s2g", "s2h"}


@pytest.mark.skipif(GOLDEN != FULL, reason="the full set is not here")
@pytest.mark.parametrize("name", FILES)
def test_the_subset_is_a_part_of_the_full_set(name):
    full = load_golden(name, FULL)
    for key, part in load_golden(name, SUBSET).items():
        whole = full[key]
        if part.shape != whole.shape:
            whole = whole[tuple(slice(size) for size in part.shape[:-2])]  # the first slices
            in_steps = part.shape[-2:-1] < whole.shape[-2:-1]
            whole = sampled(whole, part) if in_steps else whole[..., : part.shape[-1]]
        assert np.array_equal(part, whole, equal_nan=part.dtype.kind == "f"), key
