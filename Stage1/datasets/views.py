"""The random views of images that tasks learn from: what is drawn for each, and the crop, made by loader workers.

Colour and blur are drawn here too but left to the device (:mod:`Stage1.datasets.colour`): a worker decodes, crops and
resizes, which keeps it several times cheaper than the published pipeline, and hands over bytes instead of floats.
"""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor
from torchvision.transforms.v2 import functional as F

CROP_RATIO = (3 / 4, 4 / 3)
CROP_ATTEMPTS = 10


class Colour(NamedTuple):
    """What is drawn for the colours of a view; as numbers for one view, as arrays (..., views) for several.

    ``order`` has one more axis, the last: a permutation of the four adjustments in the order of the fields below.
    A view that is not jittered has neutral factors.
    """

    order: np.ndarray
    brightness: float
    contrast: float
    saturation: float
    hue: float
    grayscale: bool
    blur_sigma: float  # pixels; 0 is no blur


class View(NamedTuple):
    """One random view: the part of the image it shows, in pixels, whether it is mirrored, and its colours."""

    top: int
    left: int
    height: int
    width: int
    flip: bool
    colour: Colour


@dataclass(frozen=True)
class RandomViews:
    """Draws random views.

    Args:
        image_size: side of the view in pixels.
        crop_scale: share of the image's area that the crop keeps, drawn uniformly; None: the whole image is resized.
        jitter: strengths of brightness, contrast, saturation and hue.
        jitter_probability, grayscale_probability, blur_probability, flip_probability: of each step.
        blur_sigma: range of the blur's standard deviation in pixels.

    Raises:
        ValueError: a setting that makes no views.

    Source: MoCo v2 (Chen et al., 2020), as used by DenseCL (Wang et al., CVPR 2021).
    """

    image_size: int = 224
    crop_scale: tuple[float, float] | None = (0.2, 1.0)
    jitter: tuple[float, float, float, float] = (0.4, 0.4, 0.4, 0.1)
    jitter_probability: float = 0.8
    grayscale_probability: float = 0.2
    blur_sigma: tuple[float, float] = (0.1, 2.0)
    blur_probability: float = 0.5
    flip_probability: float = 0.5

    def __post_init__(self) -> None:
        two, share = "two numbers, 0 < low <= high", "a number from 0 to 1"
        wrong = {
            "image_size": None if self.image_size >= 1 else "1 pixel or more",
            "crop_scale": None if self.crop_scale is None or _is_range(self.crop_scale, 1) else f"{two} <= 1, or None",
            "jitter": None if np.shape(self.jitter) == (4,) and min(self.jitter) >= 0 else "four numbers, 0 or more",
            "blur_sigma": None if _is_range(self.blur_sigma, math.inf) else two,
        }
        wrong |= {name: None if 0 <= value <= 1 else share for name, value in vars(self).items() if "prob" in name}
        for name, expected in wrong.items():
            if expected:
                raise ValueError(f"found {name} {getattr(self, name)} of views, expected {expected}; correct {name}")

    def draw(self, height: int, width: int, random: np.random.Generator) -> View:
        """A view of an image of this size in pixels."""
        box = draw_crop(height, width, self.crop_scale, random) if self.crop_scale else (0, 0, height, width)
        return View(*box, flip=random.random() < self.flip_probability, colour=self.draw_colour(random))

    def draw_colour(self, random: np.random.Generator) -> Colour:
        brightness = contrast = saturation = 1.0
        hue = 0.0
        order = random.permutation(4)
        if random.random() < self.jitter_probability:
            strengths = np.array(self.jitter)
            brightness, contrast, saturation, hue = random.uniform(-strengths, strengths) + (1.0, 1.0, 1.0, 0.0)
        grayscale = random.random() < self.grayscale_probability
        blurred = random.random() < self.blur_probability
        sigma = random.uniform(*self.blur_sigma) if blurred else 0.0
        # A strength above 1 would reach negative factors; like torchvision, stop at 0.
        factors = (max(0.0, factor) for factor in (brightness, contrast, saturation))
        return Colour(order, *factors, hue=hue, grayscale=grayscale, blur_sigma=sigma)

    def crop(self, image: Tensor, view: View) -> Tensor:
        """The part of an image (C, H, W) uint8 that a view shows, (C, image_size, image_size) uint8."""
        part = image[:, view.top : view.top + view.height, view.left : view.left + view.width]
        resized = F.resize(part, [self.image_size, self.image_size], antialias=True)
        return resized.flip(2) if view.flip else resized


def _is_range(values: Any, highest: float) -> bool:
    return np.shape(values) == (2,) and 0 < values[0] <= values[1] <= highest


def draw_crop(
    height: int, width: int, scale: tuple[float, float], random: np.random.Generator
) -> tuple[int, int, int, int]:
    """Top, left, height and width of a random crop, as torchvision's RandomResizedCrop draws it.

    The area is uniform in ``scale`` (of the image's), the aspect ratio log-uniform between 3/4 and 4/3. Where ten draws
    do not fit into the image, the largest central crop of an allowed ratio is taken.
    """
    log_ratio = np.log(CROP_RATIO)
    for _ in range(CROP_ATTEMPTS):
        area = height * width * random.uniform(*scale)
        ratio = math.exp(random.uniform(*log_ratio))
        crop_width, crop_height = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < crop_width <= width and 0 < crop_height <= height:
            top = int(random.integers(height - crop_height + 1))
            left = int(random.integers(width - crop_width + 1))
            return top, left, crop_height, crop_width
    ratio = min(max(width / height, CROP_RATIO[0]), CROP_RATIO[1])
    crop_width, crop_height = min(width, round(height * ratio)), min(height, round(width / ratio))
    crop_width, crop_height = max(1, crop_width), max(1, crop_height)
    return (height - crop_height) // 2, (width - crop_width) // 2, crop_height, crop_width
