"""Class maps against a slow count of pixels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from Stage2.preparation.steps.class_map import class_map, count_class_pixels

CLASSES = {"BG": 0, "LIVER": 1, "SPLEEN": 4}
labels = arrays.arrays(np.uint8, (3, 2, 3), elements=st.sampled_from(sorted(CLASSES.values())))


@settings(deadline=None)
@given(st.lists(labels, min_size=1, max_size=3), st.integers(1, 7))
def test_slices_hold_at_least_the_minimum_of_pixels_of_the_class(volumes, minimum):
    counts = {str(scan): count_class_pixels(volume, CLASSES) for scan, volume in enumerate(volumes)}
    result = class_map(counts, CLASSES, minimum)
    assert list(result) == list(CLASSES)
    for name, value in CLASSES.items():
        for scan, volume in enumerate(volumes):
            expected = [z for z in range(3) if volume[z].ravel().tolist().count(value) >= minimum]
            assert result[name][str(scan)] == expected


def test_pixels_are_counted_not_label_values():
    label = np.zeros((1, 4, 4), dtype=np.uint8)
    label[0, 0, :3] = 4
    counts = {"1": count_class_pixels(label, CLASSES)}
    assert class_map(counts, CLASSES, 3)["SPLEEN"] == {"1": [0]}
    assert class_map(counts, CLASSES, 4)["SPLEEN"] == {"1": []}


def test_a_value_that_is_no_class_is_refused():
    with pytest.raises(ValueError, match=r"\[3\].*SPLEEN"):
        count_class_pixels(np.array([[[0, 3]]]), CLASSES)


def test_a_minimum_of_zero_is_refused():
    with pytest.raises(ValueError, match="1 or more"):
        class_map({}, CLASSES, 0)
