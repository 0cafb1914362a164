"""Clean-up: one piece for each organ, without holes, on any axis."""

import numpy as np
from skimage.measure import label as connected

from Stage2.segmentation.clean_up import clean_label_map, fill_holes, largest_component


def test_the_largest_piece_stays():
    rng = np.random.default_rng(1)
    mask = rng.random((8, 12, 12)) > 0.9
    kept = largest_component(mask)
    pieces = connected(mask, connectivity=3)
    sizes = np.bincount(pieces.ravel())[1:]
    assert len(sizes) > 3
    np.testing.assert_array_equal(kept, pieces == 1 + sizes.argmax())
    assert not largest_component(np.zeros((2, 3, 3), dtype=bool)).any()


def test_holes_are_closed_slice_by_slice():
    ring = np.zeros((1, 7, 7), dtype=bool)
    ring[0, 1:6, 1:6] = True
    ring[0, 3, 3] = False
    tube = np.repeat(ring, 3, axis=0)  # open at both ends: no hole in space
    assert fill_holes(tube).sum() == 3 * 25
    np.testing.assert_array_equal(fill_holes(np.moveaxis(tube, 0, 2), 2), np.moveaxis(fill_holes(tube), 0, 2))
    assert fill_holes(tube, 1).sum() == tube.sum()


def test_organs_are_cleaned_each_and_keep_what_is_theirs():
    labels = np.zeros((3, 12, 12), dtype=np.uint8)
    labels[:, 1:8, 1:8] = 2
    labels[:, 3:6, 3:6] = 0  # a hole, of which another organ fills the middle
    labels[:, 4, 4] = 7
    labels[1, 10, 10] = 2  # a far speck
    cleaned = clean_label_map(labels)
    assert cleaned[1, 10, 10] == 0
    assert (cleaned[:, 4, 4] == 7).all()
    assert (cleaned == 2).sum() == 3 * (49 - 1)
    np.testing.assert_array_equal(clean_label_map(cleaned), cleaned)
