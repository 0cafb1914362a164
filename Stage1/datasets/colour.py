"""Colour and blur of whole batches of views, on the device that trains.

Every adjustment takes images (B, C, H, W) float32 in [0, 1], C = 3 or 1 (grey), and one number per image.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from mmengine.model import BaseDataPreprocessor
from mmengine.registry import MODELS
from torch import Tensor

from Stage1.datasets.views import Colour

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
GRAY_WEIGHTS = (0.299, 0.587, 0.114)  # ITU-R BT.601, as Pillow and torchvision
BLUR_REACH = 4.0  # standard deviations on each side that the blur takes in


@MODELS.register_module()
class ColourAugmentation(BaseDataPreprocessor):
    """Turns cropped views into the model's input: colour jitter, grayscale, blur, normalisation.

    Args:
        mean, std: of the three channels, of values in [0, 1]; those of ImageNet by default.
        non_blocking: as in :class:`mmengine.model.BaseDataPreprocessor`.
    """

    def __init__(
        self,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        non_blocking: bool = True,
    ) -> None:
        super().__init__(non_blocking)
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    def forward(self, data: dict, training: bool = False) -> dict:
        """A batch of the data set on the model's device.

        Args:
            data: ``inputs``: (N, V, 3, H, W) uint8, V views of every image; ``data_samples``: with ``colour``, a
                :class:`Colour` of (N, V) tensors, and ``grey`` (N,), True where the three channels are equal.
            training: as in :class:`mmengine.model.BaseDataPreprocessor`.

        Returns:
            The same dictionary with ``inputs`` (N, V, 3, H, W) float32.
        """
        count, samples = data["inputs"].shape[1], data["data_samples"]
        views = data["inputs"].to(self.device, non_blocking=True).flatten(0, 1)  # N * V, 3, H, W
        colour = Colour(*(field.flatten(0, 1) for field in samples["colour"]))
        grey = samples["grey"].repeat_interleave(count)
        inputs = torch.empty_like(views, dtype=torch.float32)
        # One channel stands for all three of a grey image until it is normalised: a third of the work.
        for chosen, channels in ((grey, 1), (~grey, 3)):
            rows = chosen.nonzero().squeeze(1)
            if len(rows):
                places = rows.to(self.device, non_blocking=True)
                images = adjust_views(views[places, :channels] / 255, Colour(*(field[rows] for field in colour)))
                inputs[places] = (images - self.mean) / self.std
        return data | {"inputs": inputs.unflatten(0, (-1, count))}


def adjust_views(images: Tensor, colour: Colour) -> Tensor:
    """Jitter, grayscale and blur, each image by its own draws.

    Args:
        images: (B, 3 or 1, H, W) float32 in [0, 1]; changed in place. Saturation, hue and grayscale cannot change grey
            images and are left out where there is one channel.
        colour: tensors (B,), ``order`` (B, 4), on the CPU, so that no step has to ask the device which images
            it concerns.
    """
    adjustments = [
        (0, adjust_brightness, colour.brightness, colour.brightness != 1),
        (1, adjust_contrast, colour.contrast, colour.contrast != 1),
    ]
    if images.shape[1] == 3:
        adjustments += [
            (2, adjust_saturation, colour.saturation, colour.saturation != 1),
            (3, adjust_hue, colour.hue, colour.hue != 0),
        ]
    for position in range(colour.order.shape[1]):
        for number, adjust, factors, wanted in adjustments:
            change_some(images, wanted & (colour.order[:, position] == number), adjust, factors)
    if images.shape[1] == 3:
        change_some(images, colour.grayscale, lambda some, _: to_gray(some).expand_as(some), colour.hue)
    reach = math.ceil(BLUR_REACH * float(colour.blur_sigma.max()))
    change_some(images, colour.blur_sigma > 0, partial(gaussian_blur, reach=reach), colour.blur_sigma)
    return images


def change_some(images: Tensor, chosen: Tensor, change: Callable[[Tensor, Tensor], Tensor], numbers: Tensor) -> None:
    """Applies ``change(images, numbers)`` to the chosen images (B,) of a batch, in place."""
    rows = chosen.nonzero().squeeze(1)
    if len(rows):
        numbers = numbers[rows].to(images.device, images.dtype, non_blocking=True)
        rows = rows.to(images.device, non_blocking=True)
        images[rows] = change(images[rows], numbers)


def adjust_brightness(images: Tensor, factors: Tensor) -> Tensor:
    """Multiplies every image by its factor."""
    return (images * per_image(factors)).clamp_(0, 1)


def adjust_contrast(images: Tensor, factors: Tensor) -> Tensor:
    """Moves every image away from (factor > 1) or towards its own mean gray."""
    return blend(images, to_gray(images).mean(dim=(1, 2, 3), keepdim=True), factors)


def adjust_saturation(images: Tensor, factors: Tensor) -> Tensor:
    """Moves every pixel away from (factor > 1) or towards its gray."""
    return blend(images, to_gray(images), factors)


def adjust_hue(images: Tensor, shifts: Tensor) -> Tensor:
    """Turns the hue of every image (B, 3, H, W) by its share of the full circle, keeping HSV saturation and value."""
    red, green, blue = images.unbind(1)
    value = images.amax(dim=1)
    chroma = value - images.amin(dim=1)
    divisor = chroma.where(chroma > 0, 1)
    hue = torch.where(
        value == red, (green - blue) / divisor,
        torch.where(value == green, (blue - red) / divisor + 2, (red - green) / divisor + 4),
    )  # fmt: skip
    hue = hue + 6 * shifts.view(-1, 1, 1)
    # Every channel is the value less a part of the chroma, a trapezium over the circle of six sectors.
    sectors = (torch.stack([hue + 5, hue + 3, hue + 1], dim=1)) % 6
    part = torch.minimum(sectors, 4 - sectors).clamp_(0, 1)
    return value.unsqueeze(1) - chroma.unsqueeze(1) * part


def to_gray(images: Tensor) -> Tensor:
    """Luma of images, (B, 1, H, W)."""
    if images.shape[1] == 1:
        return images
    red, green, blue = GRAY_WEIGHTS
    return (red * images[:, 0] + green * images[:, 1] + blue * images[:, 2]).unsqueeze(1)


def blend(images: Tensor, others: Tensor, factors: Tensor) -> Tensor:
    """factor * image + (1 - factor) * other, within [0, 1]."""
    return torch.lerp(others, images, per_image(factors)).clamp_(0, 1)


def per_image(numbers: Tensor) -> Tensor:
    return numbers.view(-1, 1, 1, 1)


def gaussian_blur(images: Tensor, sigmas: Tensor, reach: int) -> Tensor:
    """Blurs every image with its own standard deviation in pixels, over ``reach`` pixels on each side, reflecting.

    Rows and columns are each multiplied by a banded matrix: a batch of differing blurs is two matrix products.
    """
    rows, columns = (blur_matrices(sigmas, length, reach) for length in images.shape[2:])
    return rows.unsqueeze(1) @ images @ columns.transpose(1, 2).unsqueeze(1)


def blur_matrices(sigmas: Tensor, length: int, reach: int) -> Tensor:
    """(B, length, length): what every pixel of a line contributes to every pixel of the blurred line."""
    reach = min(length - 1, reach)
    offsets = torch.arange(-reach, reach + 1, device=sigmas.device)
    weights = F.softmax(-0.5 * (offsets / sigmas.unsqueeze(1)) ** 2, dim=1)  # (B, 2 * reach + 1)
    sources = (torch.arange(length, device=sigmas.device).unsqueeze(1) + offsets).abs()
    sources = (length - 1) - ((length - 1) - sources).abs()  # reflected at both ends
    matrices = sigmas.new_zeros(len(sigmas), length, length)
    shape = (len(sigmas), *sources.shape)
    return matrices.scatter_add_(2, sources.expand(shape), weights.unsqueeze(1).expand(shape))
