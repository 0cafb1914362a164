"""Masks of the body on made-up slices, against a slow definition."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from Stage2.datasets.body import foreground_mask


def flood(mask: np.ndarray, start: tuple[int, int], diagonal: bool) -> set[tuple[int, int]]:
    """Pixels of the mask that are connected to a start pixel."""
    steps = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if (dy or dx) and (diagonal or not dy * dx)]
    reached, open_ends = {start}, [start]
    while open_ends:
        y, x = open_ends.pop()
        for dy, dx in steps:
            place = (y + dy, x + dx)
            inside = 0 <= place[0] < mask.shape[0] and 0 <= place[1] < mask.shape[1]
            if inside and mask[place] and place not in reached:
                reached.add(place)
                open_ends.append(place)
    return reached


@settings(deadline=None)
@given(arrays.arrays(np.bool_, st.tuples(st.integers(1, 7), st.integers(1, 7))))
def test_mask_is_the_largest_region_with_holes_filled(bright):
    mask = foreground_mask(np.where(bright, 60.0, 50.0), threshold=50.0)
    if not bright.any():
        assert not mask.any()
        return
    regions = [flood(bright, tuple(place), diagonal=True) for place in np.argwhere(bright)]
    largest = max(map(len, regions))
    frame = np.pad(np.ones(bright.shape, dtype=bool), 1)
    candidates = []
    for region in (region for region in regions if len(region) == largest):
        outside_allowed = np.ones(frame.shape, dtype=bool)
        for y, x in region:
            outside_allowed[y + 1, x + 1] = False
        outside = flood(outside_allowed, (0, 0), diagonal=False)
        candidates.append({(int(y), int(x)) for y, x in np.ndindex(bright.shape) if (y + 1, x + 1) not in outside})
    assert {(int(y), int(x)) for y, x in np.argwhere(mask)} in candidates
