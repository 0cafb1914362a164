"""Superpixels on made-up slices, against slow definitions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from Stage2.preparation.steps.pseudo_labels import (
    SUPERPIXEL_SCALES,
    SUPERVOXEL_SCALES,
    felzenszwalb_segments,
    pseudo_label_volume,
    superpixels,
    supervoxel_volume,
)


@settings(deadline=None)
@given(arrays.arrays(np.int64, (4, 5), elements=st.integers(0, 6)), arrays.arrays(np.bool_, (4, 5)))
def test_superpixels_keep_the_partition_inside_the_mask(segments, mask):
    numbers = superpixels(segments, mask)
    assert numbers.dtype == np.int32
    assert not numbers[~mask].any()
    assert set(numbers[mask].tolist()) == set(range(1, len(set(segments[mask].tolist())) + 1))
    pairs = set(zip(segments[mask].tolist(), numbers[mask].tolist(), strict=True))
    assert len(pairs) == len({segment for segment, _ in pairs}) == len({number for _, number in pairs})


def test_segment_zero_inside_the_mask_is_kept():
    assert superpixels(np.array([[0, 0, 7]]), np.array([[False, True, True]])).tolist() == [[0, 1, 2]]


def test_segments_and_mask_must_agree_in_shape():
    with pytest.raises(ValueError, match=r"\(2, 3\).*\(3, 2\)"):
        superpixels(np.zeros((2, 3), int), np.zeros((3, 2), bool))


@pytest.fixture(scope="module")
def noisy_volume() -> np.ndarray:
    """Slices with a disc of four quadrants; the middle slice is blank."""
    y, x = np.mgrid[-40:40, -40:40]
    quadrants = 100 + 100 * (y > 0) + 200 * (x > 0)
    disc = np.where(y**2 + x**2 < 35**2, quadrants, 0)
    noise = np.random.default_rng(0).integers(0, 6, disc.shape)
    return np.stack([disc + noise, np.zeros_like(disc), disc[::-1] + noise]).astype(np.int16)


def test_the_quadrants_of_a_disc_become_superpixels(noisy_volume):
    numbers, masks = pseudo_label_volume(noisy_volume, threshold=50.0)
    y, x = np.mgrid[-40:40, -40:40]
    assert np.array_equal(masks[0], y**2 + x**2 < 35**2)
    assert np.array_equal(numbers > 0, masks)
    centres = [numbers[0, 40 + dy, 40 + dx] for dy in (-15, 15) for dx in (-15, 15)]
    assert len(set(centres)) == 4


def test_a_blank_slice_has_neither_mask_nor_superpixels(noisy_volume):
    numbers, masks = pseudo_label_volume(noisy_volume, threshold=50.0)
    assert not numbers[1].any() and not masks[1].any()


def test_the_stored_type_of_an_image_does_not_change_its_segments(noisy_volume):
    image = noisy_volume[0]
    expected = felzenszwalb_segments(image.astype(np.float64))
    for stored in (np.int16, np.uint16, np.float32):
        assert np.array_equal(felzenszwalb_segments(image.astype(stored)), expected)


@pytest.mark.parametrize("scale", SUPERPIXEL_SCALES)
def test_no_segment_is_smaller_than_the_minimum_of_the_scale(noisy_volume, scale):
    sizes = np.bincount(felzenszwalb_segments(noisy_volume[0], scale).ravel())
    assert sizes.min() >= SUPERPIXEL_SCALES[scale]["min_size"]


def test_small_superpixels_are_finer_than_middle_ones():
    texture = np.random.default_rng(0).normal(100, 30, (96, 96))
    counts = {scale: felzenszwalb_segments(texture, scale).max() for scale in SUPERPIXEL_SCALES}
    assert counts["SMALL"] > counts["MIDDLE"]


def test_an_unknown_scale_is_refused():
    with pytest.raises(ValueError, match=r"'LARGE'.*MIDDLE, SMALL"):
        felzenszwalb_segments(np.zeros((8, 8)), "LARGE")


def test_supervoxels_cover_the_body_and_reach_through_slices():
    y, x = np.mgrid[-40:40, -40:40]
    halves = np.where(y**2 + x**2 < 35**2, 100 + 200 * (x > 0), 0)
    volume = np.stack([halves] * 4) + np.random.default_rng(0).integers(0, 6, (4, 80, 80))
    numbers, masks = supervoxel_volume(volume.astype(np.int16), (7.7, 1.25, 1.25), threshold=50.0)
    assert np.array_equal(masks, np.stack([y**2 + x**2 < 35**2] * 4)) and np.array_equal(numbers > 0, masks)
    assert numbers.max() == 2  # of about 7,700 voxels each
    for z in range(4):
        assert len(set(numbers[z][masks[z] & (x < -1)].tolist())) == 1
    assert set(numbers[:, 40, 20]) != set(numbers[:, 40, 60])


def test_a_volume_without_a_body_has_no_supervoxels():
    numbers, masks = supervoxel_volume(np.zeros((2, 8, 8)), (1, 1, 1), threshold=50.0)
    assert not numbers.any() and not masks.any()


def test_supervoxels_have_the_scales_of_superpixels():
    assert list(SUPERVOXEL_SCALES) == list(SUPERPIXEL_SCALES)
    with pytest.raises(ValueError, match=r"'LARGE'.*MIDDLE, SMALL"):
        supervoxel_volume(np.zeros((1, 8, 8)), (1, 1, 1), 50.0, "LARGE")
