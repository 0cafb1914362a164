"""The random views: how often and how strongly each step is drawn, and the crop."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms import v2

from Stage1.datasets.views import RandomViews, View, draw_crop

DRAWS = 4000


def share(count):
    """Tolerance of a share that was counted over DRAWS fair draws: five standard deviations."""
    return pytest.approx(count, abs=5 * (count * (1 - count) / DRAWS) ** 0.5)


@pytest.fixture(scope="module")
def colours():
    random = np.random.default_rng(0)
    return [RandomViews().draw_colour(random) for _ in range(DRAWS)]


def test_each_step_is_drawn_as_often_as_published(colours):
    assert np.mean([colour.brightness != 1 for colour in colours]) == share(0.8)
    assert np.mean([colour.grayscale for colour in colours]) == share(0.2)
    assert np.mean([colour.blur_sigma > 0 for colour in colours]) == share(0.5)
    random = np.random.default_rng(1)
    assert np.mean([RandomViews().draw(9, 9, random).flip for _ in range(DRAWS)]) == share(0.5)


def test_jitter_is_all_or_nothing(colours):
    for colour in colours:
        changed = {colour.brightness != 1, colour.contrast != 1, colour.saturation != 1, colour.hue != 0}
        assert len(changed) == 1


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("brightness", 0.6, 1.4),
        ("contrast", 0.6, 1.4),
        ("saturation", 0.6, 1.4),
        ("hue", -0.1, 0.1),
        ("blur_sigma", 0.1, 2.0),
    ],
)
def test_strengths_are_uniform_over_the_published_range(colours, name, low, high):
    neutral = 0.0 if name in ("hue", "blur_sigma") else 1.0
    drawn = np.array([getattr(colour, name) for colour in colours])
    drawn = np.sort((drawn[drawn != neutral] - low) / (high - low))
    assert 0 <= drawn[0] < 0.01
    assert 0.99 < drawn[-1] <= 1
    distance = np.abs(drawn - np.arange(len(drawn)) / len(drawn)).max()  # Kolmogorov-Smirnov
    assert distance < 2.0 / len(drawn) ** 0.5


def test_all_orders_of_the_jitter_are_equally_likely(colours):
    orders, counts = np.unique([colour.order for colour in colours], axis=0, return_counts=True)
    assert len(orders) == 24
    assert counts / DRAWS == share(1 / 24)


def test_a_strength_above_one_stops_at_black():
    random = np.random.default_rng(0)
    views = RandomViews(jitter=(3.0, 3.0, 3.0, 0.0), jitter_probability=1.0)
    assert min(min(views.draw_colour(random)[1:4]) for _ in range(50)) == 0


@pytest.mark.parametrize(("height", "width"), [(300, 400), (64, 64), (40, 400)])
def test_crops_are_distributed_as_torchvision_s(height, width):
    random, scale, count = np.random.default_rng(0), (0.2, 1.0), 3000
    ours = np.array([draw_crop(height, width, scale, random) for _ in range(count)])
    torch.manual_seed(0)
    transform = v2.RandomResizedCrop(224, scale=scale)
    image = torch.empty(3, height, width, device="meta")
    theirs = [transform.make_params([image]) for _ in range(count)]
    theirs = np.array([[params[key] for key in ("top", "left", "height", "width")] for params in theirs])
    for column in range(4):
        grid = np.unique(np.concatenate([ours[:, column], theirs[:, column]]))
        cumulative = [np.searchsorted(np.sort(x[:, column]), grid, side="right") / count for x in (ours, theirs)]
        assert np.abs(cumulative[0] - cumulative[1]).max() < 2.0 * (2 / count) ** 0.5  # Kolmogorov-Smirnov


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**31))
def test_crops_lie_inside_every_image(height, width, seed):
    top, left, crop_height, crop_width = draw_crop(height, width, (0.2, 1.0), np.random.default_rng(seed))
    assert crop_height > 0
    assert crop_width > 0
    assert 0 <= top <= height - crop_height
    assert 0 <= left <= width - crop_width


def test_long_strips_fall_back_to_the_largest_central_crop():
    assert draw_crop(10, 1000, (0.2, 1.0), np.random.default_rng(0)) == (0, 493, 10, 13)
    assert draw_crop(1000, 10, (0.2, 1.0), np.random.default_rng(0)) == (493, 0, 13, 10)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("flip", [False, True])
def test_the_crop_equals_torchvision_s_resized_crop(channels, flip):
    image = torch.randint(0, 256, (channels, 90, 70), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    view = View(10, 20, 60, 40, flip, colour=None)
    expected = v2.functional.resized_crop(image, 10, 20, 60, 40, [32, 32], antialias=True)
    cropped = RandomViews(image_size=32).crop(image, view)
    assert torch.equal(cropped, v2.functional.horizontal_flip(expected) if flip else expected)


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (50, 1), (3, 2)])
def test_tiny_images_make_views(size):
    views, random = RandomViews(image_size=16), np.random.default_rng(0)
    for _ in range(20):
        crop = views.crop(torch.full((1, *size), 77, dtype=torch.uint8), views.draw(*size, random))
        assert crop.shape == (1, 16, 16)
        assert (crop == 77).all()


@pytest.mark.parametrize(
    ("setting", "values"),
    {
        "image_size": (0, -5),
        "crop_scale": ((20, 100), (1.0, 0.2), (0.0, 1.0), (0.5,), 0.5, (0.2, math.nan)),
        "jitter": (0.4, (0.4,), (0.4, 0.4, 0.4), (0.4, 0.4, -0.4, 0.1)),
        "blur_sigma": ((2.0, 0.1), (0.0, 1.0), 2.0),
        "blur_probability": (1.5, -0.1),
        "flip_probability": (2,),
    }.items(),
)
def test_settings_that_make_no_views_are_named(setting, values):
    for value in values:
        with pytest.raises(ValueError, match=f"found {setting} .* of views, expected .*; correct {setting}"):
            RandomViews(**{setting: value})
