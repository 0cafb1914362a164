"""Random changes of a batch of slices with their labels, all slices at once: geometry, then intensities.

Drawn on the CPU from one generator, so that a seed gives the same changes on every device.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

ELASTIC_CELLS = 7  # control points of the elastic change along a side
BIAS_CELLS = 4  # of the bias field


@dataclass(frozen=True)
class Strength:
    """How strong the changes are.

    Attributes:
        rotation: largest angle, in degrees either way.
        zoom: largest factor, either way, of size.
        stretch: largest factor, either way, between the sides, as a logarithm.
        shift: largest share of the half side, either way.
        elastic: largest deviation of the control points, as a share of the half side.
        gamma: largest exponent, either way, as a logarithm.
        bias: largest deviation of the logarithm of the bias field.
        contrast: largest change of contrast, as a logarithm, and of brightness, in standard deviations.
        blur: share of slices that are blurred.
        noise: largest standard deviation of the noise.
    """

    rotation: float = 15.0
    zoom: float = 1.25
    stretch: float = 0.1
    shift: float = 0.12
    elastic: float = 0.12
    gamma: float = 0.6
    bias: float = 0.25
    contrast: float = 0.25
    blur: float = 0.3
    noise: float = 0.15


def change_geometry(
    images: Tensor, labels: Tensor, generator: torch.Generator, strength: Strength = Strength()
) -> tuple[Tensor, Tensor]:
    """Rotate, zoom, stretch, shift and bend slices with their labels, each slice by its own draw.

    Args:
        images: (B, C, H, W) float32; what comes from outside repeats the border.
        labels: (B, H, W) whole numbers; what comes from outside is 0.
        generator: of the randomness.
        strength: of the changes.

    Returns:
        images by bilinear, labels by nearest neighbours, in the shapes that they came in.
    """
    grid = random_grid(len(images), images.shape[-2:], generator, strength).to(images.device)
    moved = functional.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
    drawn = functional.grid_sample(labels[:, None].float(), grid, mode="nearest", align_corners=False)
    return moved, drawn[:, 0].to(labels.dtype)


def random_grid(count: int, size: tuple[int, int], generator: torch.Generator, strength: Strength) -> Tensor:
    """Where every pixel of a changed slice is read, (B, H, W, 2) in x and y from -1 to 1."""
    angle = _within(math.radians(strength.rotation), count, generator)
    zoom = torch.exp(_within(math.log(strength.zoom), count, generator))
    stretch = torch.exp(_within(strength.stretch, count, generator))
    cosine, sine = torch.cos(angle) * zoom, torch.sin(angle) * zoom
    shift = _within(strength.shift, (count, 2), generator)
    rows = [
        torch.stack([cosine * stretch, -sine, shift[:, 0]], dim=1),
        torch.stack([sine, cosine / stretch, shift[:, 1]], dim=1),
    ]
    grid = functional.affine_grid(torch.stack(rows, dim=1), (count, 1, *size), align_corners=False)
    amount = strength.elastic * torch.rand(count, 1, 1, 1, generator=generator)
    return grid + (amount * smooth_noise((count, 2), ELASTIC_CELLS, size, generator)).permute(0, 2, 3, 1)


def change_intensities(images: Tensor, generator: torch.Generator, strength: Strength = Strength()) -> Tensor:
    """Gamma, bias field, contrast, blur and noise of normalised slices, (B, C, H, W); the channels change alike.

    Gamma and bias field leave mean and deviation of a slice as they were; contrast and brightness then move them.
    """
    count, dims, device = len(images), (1, 2, 3), images.device

    def draw(most: float) -> Tensor:
        return _within(most, (count, 1, 1, 1), generator).to(device)

    mean, spread = images.mean(dims, keepdim=True), images.std(dims, keepdim=True)
    low, high = images.amin(dims, keepdim=True), images.amax(dims, keepdim=True)
    changed = ((images - low) / (high - low).clamp(min=1e-5)).pow(torch.exp(draw(strength.gamma)))
    field = smooth_noise((count, 1), BIAS_CELLS, images.shape[-2:], generator).to(device)
    changed = changed * torch.exp(draw(strength.bias).abs() * field)
    changed = (changed - changed.mean(dims, keepdim=True)) / changed.std(dims, keepdim=True).clamp(min=1e-5)
    changed = changed * spread * torch.exp(draw(strength.contrast)) + mean + draw(strength.contrast)
    share = torch.rand(count, 1, 1, 1, generator=generator)
    share = (share * (torch.rand(count, 1, 1, 1, generator=generator) < strength.blur)).to(device)
    changed = changed + share * (smooth(changed) - changed)
    grain = torch.randn(images.shape, generator=generator).to(device)
    return changed + draw(strength.noise).abs() * grain


def smooth(images: Tensor) -> Tensor:
    """Mean of the 3 x 3 pixels around every pixel, (B, C, H, W)."""
    return functional.avg_pool2d(functional.pad(images, (1, 1, 1, 1), mode="replicate"), 3, stride=1)


def smooth_noise(shape: tuple[int, int], cells: int, size: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Smooth random fields of about unit variance, (*shape, H, W): noise on `cells` x `cells` points, interpolated."""
    coarse = torch.randn(*shape, cells, cells, generator=generator)
    return functional.interpolate(coarse, size=tuple(size), mode="bicubic", align_corners=False)


def _within(most: float, shape: int | tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Uniform between -most and most."""
    return (2 * torch.rand(shape, generator=generator) - 1) * most
