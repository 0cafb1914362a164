"""The random view: shape, normalisation, and how often and how strongly each step acts."""

import numpy as np
import pytest
import torch
from PIL import Image

from Stage1.datasets.views import IMAGENET_MEAN, IMAGENET_STD, random_view

OFF = {
    "image_size": 24,
    "crop_scale": (1.0, 1.0),
    "jitter_probability": 0.0,
    "grayscale_probability": 0.0,
    "blur_probability": 0.0,
    "flip_probability": 0.0,
}
DRAWS = 400
FIVE_SIGMA = 5 * (0.25 / DRAWS) ** 0.5


def pixels(view):
    """Undoes the normalisation: values in [0, 1]."""
    return view * torch.tensor(IMAGENET_STD).view(3, 1, 1) + torch.tensor(IMAGENET_MEAN).view(3, 1, 1)


def draw(image, count=DRAWS, **settings):
    torch.manual_seed(0)
    transform = random_view(**(OFF | settings))
    return torch.stack([pixels(transform(image)) for _ in range(count)])


@pytest.fixture
def colours():
    """Red grows along x and green along y, blue is noise."""
    y, x = np.mgrid[0:96, 0:96] * (255 / 95)
    noise = np.random.default_rng(0).integers(0, 256, (96, 96))
    return Image.fromarray(np.stack([x, y, noise], axis=2).astype(np.uint8))


def test_published_view_has_224_pixels_and_imagenet_normalisation():
    grey = Image.fromarray(np.full((300, 260, 3), 128, np.uint8))
    view = random_view(jitter_probability=0.0)(grey)
    assert view.shape == (3, 224, 224)
    assert view.dtype == torch.float32
    expected = (128 / 255 - torch.tensor(IMAGENET_MEAN)) / torch.tensor(IMAGENET_STD)
    torch.testing.assert_close(view, expected.view(3, 1, 1).expand(3, 224, 224))
    assert IMAGENET_MEAN == (0.485, 0.456, 0.406)
    assert IMAGENET_STD == (0.229, 0.224, 0.225)


def test_flip_is_a_fair_coin(colours):
    red = draw(colours, flip_probability=0.5)[:, 0]
    assert (red[:, :, 0] > red[:, :, -1]).all(dim=1).float().mean() == pytest.approx(0.5, abs=FIVE_SIGMA)


def test_grayscale_probability(colours):
    views = draw(colours, grayscale_probability=0.2)
    grey = (views.amax(dim=1) - views.amin(dim=1)).amax(dim=(1, 2)) < 1e-5
    assert grey.float().mean() == pytest.approx(0.2, abs=FIVE_SIGMA)


def test_jitter_probability_and_strength():
    image = Image.fromarray(np.full((24, 24, 3), (120, 100, 80), np.uint8))
    original = torch.tensor([120, 100, 80]) / 255
    colour = draw(image, jitter_probability=0.8)[:, :, 0, 0]
    changed = (colour - original).abs().amax(dim=1) > 1e-4
    assert changed.float().mean() == pytest.approx(0.8, abs=FIVE_SIGMA)
    brightness = draw(image, jitter=(0.4, 0.0, 0.0, 0.0), jitter_probability=1.0)[:, :, 0, 0] / original
    assert brightness.min() == pytest.approx(0.6, abs=0.03)
    assert brightness.max() == pytest.approx(1.4, abs=0.03)


def test_blur_probability_and_range(colours):
    sharp = draw(colours, count=1, image_size=96)[0, 2].std()
    noise = draw(colours, image_size=96, blur_probability=0.5)[:, 2].std(dim=(1, 2))
    blurred = noise < sharp * 0.98
    # sigma below about 0.25 pixels leaves the image as it is: those 8 % of the blurs cannot be seen
    assert blurred.float().mean() == pytest.approx(0.5 * 0.92, abs=FIVE_SIGMA)
    assert noise.min() < sharp * 0.2


def test_crops_keep_a_fifth_of_the_area_or_more(colours):
    views = draw(colours, crop_scale=(0.2, 1.0), image_size=96)
    width, height = (views[:, c].amax(dim=(1, 2)) - views[:, c].amin(dim=(1, 2)) for c in (0, 1))
    area, ratio = width * height, width / height
    assert area.min() > 0.17
    assert area.min() < 0.25
    assert area.max() > 0.9
    assert area.mean() == pytest.approx(0.58, abs=0.05)
    assert 0.70 < ratio.min() < 0.80
    assert 1.25 < ratio.max() < 1.40
