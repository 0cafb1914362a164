"""Batched colour and blur: each adjustment against torchvision's, the whole against the published pipeline."""

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.v2 import functional as F

from Stage1.benchmark import published_view
from Stage1.datasets.colour import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    ColourAugmentation,
    adjust_brightness,
    adjust_contrast,
    adjust_hue,
    adjust_saturation,
    adjust_views,
    blur_matrices,
    gaussian_blur,
    to_gray,
)
from Stage1.datasets.radiographs import collate_views
from Stage1.datasets.views import Colour, RandomViews

OPERATIONS = (
    (adjust_brightness, F.adjust_brightness),
    (adjust_contrast, F.adjust_contrast),
    (adjust_saturation, F.adjust_saturation),
    (adjust_hue, F.adjust_hue),
)


@pytest.fixture
def images():
    """Six images of smooth and noisy colours; grey, black and white pixels among them."""
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(6, 3, 20, 24, generator=generator)
    images[0, :, :5] = torch.rand(1, 5, 24, generator=generator)  # grey
    images[1, :, :2], images[1, :, 2:4] = 0.0, 1.0
    images[2] = F.resize(images[2, :, :4, :4], [20, 24])
    return images


def colours(count, **changes):
    fields = {"order": torch.arange(4).repeat(count, 1), "brightness": 1.0, "contrast": 1.0, "saturation": 1.0}
    fields |= {"hue": 0.0, "grayscale": False, "blur_sigma": 0.0} | changes
    return Colour(*(x if isinstance(x, torch.Tensor) else torch.tensor([x] * count) for x in fields.values()))


@pytest.mark.parametrize(("ours", "theirs"), OPERATIONS, ids=["brightness", "contrast", "saturation", "hue"])
def test_adjustments_equal_torchvision_s(images, ours, theirs):
    factors = torch.tensor([0.0, 0.6, 0.9, 1.0, 1.2, 1.4])
    if ours is adjust_hue:
        factors = torch.tensor([-0.5, -0.1, -0.03, 0.0, 0.1, 0.5])
    adjusted = ours(images.clone(), factors)
    for image, factor, result in zip(images, factors.tolist(), adjusted, strict=True):
        # torchvision's gray weights end after four digits, so that its grays are 1e-4 darker.
        torch.testing.assert_close(result, theirs(image, factor), rtol=0, atol=3e-4)


def test_gray_equals_torchvision_s(images):
    torch.testing.assert_close(to_gray(images), F.rgb_to_grayscale(images), rtol=0, atol=2e-4)


@pytest.mark.parametrize("size", [(20, 24), (3, 40), (1, 5)])
def test_blur_equals_torchvision_s(size):
    images = torch.rand(4, 3, *size, generator=torch.Generator().manual_seed(0))
    sigmas = torch.tensor([0.1, 0.7, 1.3, 2.0])
    reach = min(8, *(length - 1 for length in size if length > 1))
    blurred = gaussian_blur(images, sigmas, reach)
    for image, sigma, result in zip(images, sigmas.tolist(), blurred, strict=True):
        # torchvision cannot reflect a line of one pixel; blurring it changes nothing.
        kernel = [1 if length == 1 else 2 * reach + 1 for length in reversed(size)]
        expected = F.gaussian_blur(image, kernel_size=kernel, sigma=[sigma, sigma])
        torch.testing.assert_close(result, expected, rtol=0, atol=1e-5)


def test_blur_keeps_the_brightness_and_spreads_by_sigma():
    matrix = blur_matrices(torch.tensor([1.5]), 41, reach=8)[0]
    torch.testing.assert_close(matrix.sum(dim=1), torch.ones(41))
    spread = (matrix[20] * (torch.arange(41) - 20) ** 2).sum().sqrt()
    assert spread.item() == pytest.approx(1.5, rel=2e-3)


def test_every_image_is_changed_by_its_own_draws_in_its_own_order(images):
    generator = torch.Generator().manual_seed(1)
    colour = colours(
        6,
        order=torch.stack([torch.randperm(4, generator=generator) for _ in range(6)]),
        brightness=torch.tensor([1.0, 0.7, 1.3, 1.1, 0.6, 1.4]),
        contrast=torch.tensor([1.0, 1.2, 0.8, 1.3, 0.9, 0.6]),
        saturation=torch.tensor([1.0, 0.6, 1.4, 1.2, 0.7, 1.1]),
        hue=torch.tensor([0.0, 0.1, -0.1, 0.05, -0.02, 0.03]),
        grayscale=torch.tensor([False, False, True, False, False, False]),
        blur_sigma=torch.tensor([0.0, 0.0, 1.0, 2.0, 0.0, 0.5]),
    )
    adjusted = adjust_views(images.clone(), colour)
    assert torch.equal(adjusted[0], images[0])
    for index in range(6):
        image = images[index]
        factors = [field[index].item() for field in colour[1:5]]
        for number in colour.order[index].tolist():
            if factors[number] != (0 if number == 3 else 1):
                image = OPERATIONS[number][1](image, factors[number])
        if colour.grayscale[index]:
            image = F.rgb_to_grayscale(image, num_output_channels=3)
        if sigma := colour.blur_sigma[index].item():
            image = F.gaussian_blur(image, kernel_size=[17, 17], sigma=[sigma, sigma])
        torch.testing.assert_close(adjusted[index], image, rtol=0, atol=2e-3)


@pytest.mark.parametrize("all_grey", [True, False])
def test_grey_images_are_spared_what_cannot_change_them(all_grey, radiographs):
    """The short cut for grey images, one channel for all or steps left out, gives what the long way gives."""
    views, random = RandomViews(image_size=16), np.random.default_rng(0)
    samples = []
    for number in range(8):
        image = torch.randint(0, 256, (1 if all_grey or number % 2 else 3, 30, 30), dtype=torch.uint8)
        drawn = [views.draw(30, 30, random) for _ in range(2)]
        crops = torch.stack([views.crop(image, view) for view in drawn])
        colour = Colour(*(np.stack(field) for field in zip(*(view.colour for view in drawn), strict=True)))
        notes = {"colour": colour, "grey": len(image) == 1, "seed": number, "unreadable": {}}
        samples.append({"inputs": crops.expand(-1, 3, -1, -1), "data_samples": notes})
    batch = collate_views(samples)
    short = ColourAugmentation()(batch)["inputs"]
    batch["data_samples"]["grey"] = torch.zeros(8, dtype=torch.bool)
    long = ColourAugmentation()(batch)["inputs"]
    assert short.shape == (8, 2, 3, 16, 16)
    torch.testing.assert_close(short, long, rtol=0, atol=1e-5)


def test_an_unchanged_view_is_normalised_by_imagenet_s_mean_and_deviation():
    inputs = torch.full((1, 2, 3, 4, 4), 128, dtype=torch.uint8)
    samples = {"colour": Colour(*(x.unsqueeze(0) for x in colours(2))), "grey": torch.tensor([True])}
    views = ColourAugmentation()({"inputs": inputs, "data_samples": samples})["inputs"]
    assert views.dtype == torch.float32
    expected = (128 / 255 - torch.tensor(IMAGENET_MEAN)) / torch.tensor(IMAGENET_STD)
    torch.testing.assert_close(views, expected.view(3, 1, 1).expand(1, 2, 3, 4, 4))
    assert IMAGENET_MEAN == (0.485, 0.456, 0.406)
    assert IMAGENET_STD == (0.229, 0.224, 0.225)
    assert ColourAugmentation().state_dict() == {}  # checkpoints keep the published keys


@pytest.mark.parametrize("kind", ["colour", "grey"])
def test_views_are_distributed_as_the_published_pipeline_s(kind):
    """Mean, deviation, sharpness and colourfulness of many views of one image, against torchvision on Pillow images."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[0:80, 0:64] / (79, 63)[0]
    pixels = np.stack([60 + 120 * x, 40 + 150 * y, 90 + 60 * x * y], axis=2) + random.normal(0, 25, (80, 64, 1))
    if kind == "grey":
        pixels = np.repeat(pixels[:, :, :1], 3, axis=2)
    pixels = pixels.clip(0, 255).astype(np.uint8)
    count, size = 600, 48

    torch.manual_seed(0)
    published = published_view(size)
    theirs = torch.stack([published(Image.fromarray(pixels)) for _ in range(count)])
    views, tensor = RandomViews(image_size=size), torch.from_numpy(pixels).permute(2, 0, 1).contiguous()
    drawn = [views.draw(80, 64, random) for _ in range(count)]
    crops = torch.stack([views.crop(tensor, view) for view in drawn]).unflatten(0, (-1, 2))
    colour = Colour(*(torch.from_numpy(np.stack(field)) for field in zip(*(v.colour for v in drawn), strict=True)))
    colour = Colour(*(field.unflatten(0, (-1, 2)) for field in colour))
    grey = torch.full((count // 2,), kind == "grey")
    ours = ColourAugmentation()({"inputs": crops, "data_samples": {"colour": colour, "grey": grey}})["inputs"]

    def statistics(batch):
        batch = batch * torch.tensor(IMAGENET_STD).view(3, 1, 1) + torch.tensor(IMAGENET_MEAN).view(3, 1, 1)
        edges = (batch[..., 1:] - batch[..., :-1]).abs().mean(dim=(1, 2, 3))
        spread = (batch.amax(dim=1) - batch.amin(dim=1)).mean(dim=(1, 2))
        return torch.stack([batch.mean(dim=(1, 2, 3)), batch.std(dim=(1, 2, 3)), edges, spread], dim=1)

    ours, theirs = statistics(ours.flatten(0, 1)), statistics(theirs)
    for column, name in enumerate(("mean", "deviation", "sharpness", "colourfulness")):
        a, b = ours[:, column], theirs[:, column]
        # Means and spreads over the views agree within five standard errors, and 2 % for Pillow's rounding and blur.
        error = 5 * ((a.var() + b.var()) / count).sqrt().item()
        assert a.mean().item() == pytest.approx(b.mean().item(), abs=error + 0.02 * b.mean().abs().item() + 1e-4), name
        assert a.std().item() == pytest.approx(b.std().item(), rel=0.2, abs=1e-3), name
