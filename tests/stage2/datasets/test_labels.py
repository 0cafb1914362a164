"""Stored label values become labels of the class table; support slices show their class."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from Stage2.datasets.labels import check_support, class_labels

CLASSES = {"background": 0, "myocardium": 1, "left": 2, "right": 3}
VALUES = {0: 0, 200: 1, 500: 2, 600: 3, 205: 1}


@given(
    arrays.arrays(np.int16, (2, 3, 2), elements=st.sampled_from(sorted(VALUES))),
    st.sampled_from([np.int16, np.int32, np.float32, np.float64]),
)
def test_values_are_mapped_one_by_one(voxels, kind):
    labels = class_labels(voxels.astype(kind), CLASSES, VALUES)
    assert labels.dtype == np.uint8
    assert labels.ravel().tolist() == [VALUES[value] for value in voxels.ravel().tolist()]


def test_without_a_mapping_labels_stay_as_they_are():
    voxels = np.array([[[0, 3, 1, 2]]], dtype=np.float64)
    assert class_labels(voxels, CLASSES).tolist() == [[[0, 3, 1, 2]]]


@pytest.mark.parametrize(
    ("voxels", "values", "sentence"),
    [
        ([0, 4], None, r"label values \[4\] belong to no class; expected .*myocardium"),
        ([0, 256], None, r"label values \[256\] belong to no class"),
        ([0, 1.5], None, r"label values \[1.5\] belong to no class"),
        ([0, 200, 1], VALUES, r"label values \[1\] are not in label_values .*; map them to a class, or to 0."),
        (range(300, 320), VALUES, r"\[300, 301, 302, 303, 304, 305, 306, 307\] and 12 more are not in"),
    ],
)
def test_unknown_values_are_named(voxels, values, sentence):
    with pytest.raises(ValueError, match=sentence):
        class_labels(np.array(voxels), CLASSES, values)


def test_a_support_slice_shows_its_class():
    volume = np.zeros((3, 2, 2), dtype=np.uint8)
    volume[1, 0, 0] = 2
    check_support("7", volume, [1, 1, 1], 2)
    for slices, wrong in (([1, 0, 1], 0), ([1, 1, 3], 3)):
        with pytest.raises(ValueError, match=f"slice {wrong} of support scan 7 has no pixel of label 2"):
            check_support("7", volume, slices, 2)
    with pytest.raises(ValueError, match="slice 2 of support scan 7 has no pixel of left, against the class map"):
        check_support("7", volume, [2], 2, "left")
