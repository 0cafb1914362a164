"""Masks become labels of smaller slices, small organs stay, and a slice stands between its neighbours."""

import numpy as np
import pytest
import torch

from Stage2.adaptation.learner import IGNORED
from Stage2.adaptation.working_grid import (
    SIDES,
    AnnotatedSlices,
    choose_side,
    labels_on_working_grid,
    to_working_grid,
    with_neighbours,
)


def box(rows: slice, columns: slice, count: int = 2, side: int = 64) -> np.ndarray:
    """(Z, side, side) bool, marked in slice 1 alone."""
    mask = np.zeros((count, side, side), dtype=bool)
    mask[1, rows, columns] = True
    return mask


def test_labels_are_places_of_the_organs_whatever_their_values():
    masks = {7: box(slice(0, 16), slice(0, 16)), 3: box(slice(32, 64), slice(32, 64))}
    labels, known = labels_on_working_grid(masks, 32)
    assert labels.dtype == torch.int64 and known.dtype == torch.bool
    assert known.shape == (2, 2) and known.all()
    expected = torch.zeros(2, 32, 32, dtype=torch.int64)
    expected[1, :8, :8], expected[1, 16:, 16:] = 1, 2
    assert (labels == expected).float().mean() > 0.99
    whole, _ = labels_on_working_grid(masks, 64)
    np.testing.assert_array_equal(whole.numpy(), masks[7] + 2 * masks[3])


@pytest.mark.parametrize("side", [32, 64])
def test_of_two_organs_the_first_has_a_pixel_that_both_fill(side):
    mask = box(slice(0, 32), slice(0, 32))
    labels, _ = labels_on_working_grid({1: mask, 2: mask | box(slice(0, 32), slice(32, 64))}, side)
    assert (labels[1, : side // 2, : side // 2 - 1] == 1).all()
    assert int((labels == 2).sum()) == pytest.approx(int((labels == 1).sum()), rel=0.2)


@pytest.mark.parametrize("place", [0, 1], ids=["first", "second"])
@pytest.mark.parametrize("organ", ["alone", "within another", "a line"])
def test_organs_of_a_few_voxels_survive(organ, place):
    small = box(slice(20, 21), slice(30, 50 if organ == "a line" else 31), side=256)
    large = np.zeros_like(small) if organ == "alone" else box(slice(5, 100), slice(5, 100), side=256)
    masks = [small, large & ~small] if place == 0 else [large & ~small, small]
    labels, _ = labels_on_working_grid(dict(enumerate(masks)), 96)
    assert 1 <= (labels == 1 + place).sum() <= 40
    assert (labels == 2 - place).any() == (organ != "alone")


def test_unknown_slices_voxels_and_organs():
    masks = {1: np.ones((3, 64, 64), dtype=bool), 2: np.zeros((3, 64, 64), dtype=bool)}
    known = np.array([[True, True], [False, True], [False, False]])
    ignored = np.zeros((3, 64, 64), dtype=bool)
    ignored[0, 10, 10] = True
    labels, found = labels_on_working_grid(masks, 32, known, ignored)
    assert labels[0, 5, 5] == IGNORED
    assert labels[0, 20, 20] == 1
    assert (labels[1] == 0).all()  # what is organ 1 there, nobody says
    assert (labels[2] == IGNORED).all()
    scan = AnnotatedSlices("scan", torch.zeros(3, 32, 32), labels, found)
    assert (scan.annotated.tolist(), scan.showing.tolist()) == ([0, 1], [0])


def test_the_side_follows_the_smallest_organ():
    large = box(slice(0, 200), slice(0, 200), side=256)
    assert choose_side([{1: large}]) == SIDES[0]
    assert choose_side([{1: large, 2: box(slice(0, 5), slice(0, 5), side=256)}]) == SIDES[-1]
    middle = {2: box(slice(0, 8), slice(0, 8), side=256)}  # 64 pixels
    assert choose_side([{1: large}, middle]) == 224
    bigger = {2: box(slice(0, 20), slice(0, 20), side=256)}
    assert choose_side([middle, bigger]) == SIDES[0]  # as the scan that shows most of it
    assert choose_side([{1: large & False}]) == SIDES[-1]  # no organ asks for less


def test_images_are_averaged_and_not_skipped():
    stripes = np.tile(np.array([0.0, 1.0], dtype=np.float32), (1, 64, 32))
    small = to_working_grid(stripes, 32)
    assert small.shape == (1, 32, 32)
    assert torch.allclose(small[:, :, 1:-1], torch.tensor(0.5), atol=0.1)
    assert torch.equal(to_working_grid(stripes, 64), torch.from_numpy(stripes))


def test_a_slice_stands_between_its_neighbours_and_the_ends_stand_for_what_is_beyond():
    images = torch.arange(4.0)[:, None, None].expand(4, 2, 2)
    found = with_neighbours(images, torch.tensor([0, 2, 3]))
    assert found.shape == (3, 3, 2, 2)
    assert found[:, :, 0, 0].tolist() == [[0, 0, 1], [1, 2, 3], [2, 3, 3]]
    assert with_neighbours(images[:1], torch.tensor([0]))[0, :, 0, 0].tolist() == [0, 0, 0]
