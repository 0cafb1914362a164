"""The augmentation: its distribution, its geometry against scipy, image and mask moving together."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, map_coordinates

from Stage2.datasets import augmentation
from Stage2.datasets.augmentation import augment, augment_one_of, change_gamma, draw_geometric_change


def smooth_slice(seed: int, side: int = 256) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=(side, side))
    return gaussian_filter(noise, 6).astype(np.float32) * 20


def test_affine_matrices_stay_in_the_published_ranges():
    rng = np.random.default_rng(0)
    zooms, rotations, shears, shifts = [], [], [], []
    centre = np.array([127.5, 127.5])
    for _ in range(400):
        matrix = draw_geometric_change((256, 256), rng).matrix
        linear = matrix[:, :2]
        zoom = np.hypot(*linear[:, 0])
        angle = np.arctan2(linear[1, 0], linear[0, 0])
        unrotated = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]) @ linear / zoom
        assert unrotated[0, 0] == pytest.approx(1) and unrotated[1, 1] == pytest.approx(1)  # the zoom is isotropic
        zooms.append(zoom)
        rotations.append(np.rad2deg(angle))
        shears.append(np.rad2deg(np.arctan(unrotated[0, 1])))
        shifts.append(matrix @ [*centre, 1] - centre)  # the centre only moves by the shift
    for values, low, high in ((zooms, 0.9, 1.2), (rotations, -5, 5), (shears, -5, 5), (shifts, -5, 5)):
        spread = high - low
        assert np.min(values) >= low - 1e-9 and np.max(values) <= high + 1e-9
        assert np.min(values) < low + 0.05 * spread and np.max(values) > high - 0.05 * spread
        assert np.mean(values) == pytest.approx((low + high) / 2, abs=0.06 * spread)


def test_displacements_are_blurred_uniform_noise():
    unit = np.random.default_rng(3).random((256, 256), dtype=np.float32)
    expected = gaussian_filter(2 * unit - 1, 5, mode="constant") * 10
    change = draw_geometric_change((256, 256), FixedNoise(unit))
    grid_y, grid_x = np.mgrid[:256, :256]
    np.testing.assert_allclose(change.map_x - grid_x, expected, atol=2e-5)
    np.testing.assert_allclose(change.map_y - grid_y, expected, atol=2e-5)


class FixedNoise:
    """A generator whose arrays are given and whose numbers are the middle of their range."""

    def __init__(self, noise):
        self.noise = noise

    def uniform(self, low, high, size=None):
        return (low + high) / 2 if size is None else np.zeros(size)

    def random(self, size, dtype):
        assert (size, dtype) == (self.noise.shape, self.noise.dtype)
        return self.noise.copy()


def test_change_agrees_with_scipy_resampling():
    image = smooth_slice(1)
    change = draw_geometric_change(image.shape, np.random.default_rng(5))
    grid_y, grid_x = np.mgrid[: image.shape[0], : image.shape[1]].astype(float)
    inverse = np.linalg.inv(np.vstack([change.matrix, [0, 0, 1]]))
    source = inverse @ np.stack([grid_x.ravel(), grid_y.ravel(), np.ones(image.size)])
    moved = map_coordinates(image, [source[1], source[0]], order=1, mode="constant").reshape(image.shape)
    expected = map_coordinates(moved, [change.map_y, change.map_x], order=1, mode="reflect")
    inner = slice(40, -40)  # where the moved slice ends, the two libraries mix in the zeros differently
    difference = np.abs(change(image) - expected)[inner, inner]
    assert difference.max() < 0.05 * image.std()  # OpenCV interpolates at 1/32 of a pixel


def test_image_and_mask_move_together():
    mask = np.zeros((256, 256), dtype=bool)
    mask[80:160, 100:180] = True
    for seed in range(5):
        new_image, new_mask = augment(mask.astype(np.float32), mask, np.random.default_rng(seed))
        assert new_mask.dtype == bool and new_image.dtype == np.float32
        # Gamma keeps the order of intensities: some intensity parts the image exactly where the mask does.
        assert new_mask.any() and new_image[new_mask].min() > new_image[~new_mask].max() - 1e-4


def test_gamma_keeps_the_range_and_the_order():
    image = smooth_slice(2)
    changed = change_gamma(image, 0.7)
    assert changed.min() == pytest.approx(image.min(), abs=0.05)
    assert changed.max() == pytest.approx(image.max(), abs=1e-3)
    assert (np.argsort(changed.ravel()[:500]) == np.argsort(image.ravel()[:500])).all()
    np.testing.assert_allclose(change_gamma(image, 1.0), image, atol=1e-4)


def test_gamma_of_a_constant_slice_is_finite():
    assert np.isfinite(change_gamma(np.full((8, 8), 3, dtype=np.float32), 0.5)).all()


def test_same_generator_state_gives_the_same_view():
    image = smooth_slice(4)
    first, second = (augment(image, image > 0, np.random.default_rng(9)) for _ in range(2))
    other = augment(image, image > 0, np.random.default_rng(10))
    np.testing.assert_array_equal(first[0], second[0])
    assert not np.array_equal(first[0], other[0])


def test_published_constants():
    assert (augmentation.ROTATION, augmentation.SHIFT, augmentation.SHEAR) == (5, 5, 5)
    assert (augmentation.ZOOM, augmentation.GAMMA) == ((0.9, 1.2), (0.5, 1.5))
    assert (augmentation.ELASTIC_SIGMA, augmentation.ELASTIC_SCALE) == (5, 10)


@pytest.mark.parametrize("height", [1, 24])
def test_one_of_two_slices_is_changed_in_shape_and_one_in_intensity(height):
    rng = np.random.default_rng(0)
    images = rng.normal(size=(2, height, 24)).astype(np.float32)
    masks = np.ones((2, height, 24), dtype=bool)
    masks[:, :, 12:] = False
    seen = set()
    for seed in range(60):
        drawn, ours = np.random.default_rng(seed), np.random.default_rng(seed)
        expected = [(image.copy(), mask.copy()) for image, mask in zip(images, masks, strict=True)]
        shape, change = drawn.integers(2), draw_geometric_change((height, 24), drawn)
        expected[shape] = change(expected[shape][0]), change(expected[shape][1].astype(np.float32)) >= 0.5
        intensity, gamma = drawn.integers(2), drawn.uniform(0.5, 1.5)
        expected[intensity] = change_gamma(expected[intensity][0], gamma), expected[intensity][1]
        seen.add((int(shape), int(intensity)))
        changed = augment_one_of(list(zip(images, masks, strict=True)), ours)
        for (image, mask), (wanted_image, wanted_mask) in zip(changed, expected, strict=True):
            assert image.dtype == np.float32 and mask.dtype == bool
            if wanted_mask.any():
                assert np.array_equal(image, wanted_image) and np.array_equal(mask, wanted_mask)
    assert seen == {(0, 0), (0, 1), (1, 0), (1, 1)}


def test_a_mask_that_the_change_of_shape_would_lose_stays_as_it_is():
    image, mask = np.random.default_rng(0).normal(size=(32, 32)).astype(np.float32), np.zeros((32, 32), dtype=bool)
    mask[0, 0] = True
    for seed in range(20):
        views = augment_one_of([(image, mask), (image, mask)], np.random.default_rng(seed))
        assert all(view.any() for _, view in views)
