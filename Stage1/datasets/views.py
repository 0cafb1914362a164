"""The random view of an image that contrastive learning compares: crop, colour, blur, flip."""

import torch
from PIL import Image, ImageFilter
from torch import nn
from torchvision.transforms import v2

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class RandomGaussianBlur(nn.Module):
    """Blurs a PIL image with a standard deviation in pixels drawn uniformly from a range.

    Pillow's blur, as published; on 224-pixel views it is also faster than torchvision's convolution.
    """

    def __init__(self, sigma: tuple[float, float]) -> None:
        super().__init__()
        self.sigma = sigma

    def forward(self, image: Image.Image) -> Image.Image:
        low, high = self.sigma
        return image.filter(ImageFilter.GaussianBlur(low + (high - low) * torch.rand(()).item()))


def random_view(
    image_size: int = 224,
    crop_scale: tuple[float, float] = (0.2, 1.0),
    jitter: tuple[float, float, float, float] = (0.4, 0.4, 0.4, 0.1),
    jitter_probability: float = 0.8,
    grayscale_probability: float = 0.2,
    blur_sigma: tuple[float, float] = (0.1, 2.0),
    blur_probability: float = 0.5,
    flip_probability: float = 0.5,
) -> v2.Compose:
    """A transform from an RGB PIL image to one random view, (3, image_size, image_size) float32.

    Args:
        image_size: side of the view in pixels.
        crop_scale: share of the image's area that the crop keeps, drawn uniformly.
        jitter: strengths of brightness, contrast, saturation and hue.
        jitter_probability, grayscale_probability, blur_probability, flip_probability: of each step.
        blur_sigma: range of the blur's standard deviation in pixels.

    All randomness is drawn from torch's global generator. The view is normalised by ImageNet's mean and deviation.

    Source: MoCo v2 (Chen et al., 2020), as used by DenseCL (Wang et al., CVPR 2021).
    """
    return v2.Compose(
        [
            v2.RandomResizedCrop(image_size, scale=tuple(crop_scale)),
            v2.RandomApply([v2.ColorJitter(*jitter)], p=jitter_probability),
            v2.RandomGrayscale(p=grayscale_probability),
            v2.RandomApply([RandomGaussianBlur(tuple(blur_sigma))], p=blur_probability),
            v2.RandomHorizontalFlip(p=flip_probability),
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(IMAGENET_MEAN, IMAGENET_STD),
        ]
    )
