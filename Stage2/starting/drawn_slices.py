"""Slices of phantoms in contrasts that no scanner gives, with their tissues: what the starting network learns from.

A network that has to find a kidney whatever its brightness learns shapes and places, and meets no contrast that is new
to it later. Source of the idea: SynthSeg (Billot et al., Medical Image Analysis 2023).
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from Stage2.adaptation.augmentation import Strength, change_intensities, random_grid, smooth, smooth_noise
from Stage2.phantom.anatomy import BOWEL_FILLINGS, TISSUES, Tissue, build_anatomy
from Stage2.phantom.geometry import place_subject, slice_positions
from Stage2.phantom.imaging import BOWEL, CT, CT_WINDOW_HU, MR, RANGES

# What the network tells apart; background comes before them. Tissues of one name are one class.
CLASSES: dict[str, tuple[Tissue, ...]] = {
    "subcutaneous fat": (Tissue.SUBCUTANEOUS_FAT,),
    "visceral fat": (Tissue.VISCERAL_FAT, Tissue.MESENTERIC_VESSEL),
    "muscle": (Tissue.MUSCLE,),
    "bone": (Tissue.CORTICAL_BONE, Tissue.MARROW),
    "disc": (Tissue.DISC,),
    "spinal canal": (Tissue.CEREBROSPINAL_FLUID, Tissue.CORD),
    "lung": (Tissue.LUNG,),
    "heart": (Tissue.HEART,),
    "liver": (Tissue.LIVER, Tissue.LIVER_VESSEL),
    "right kidney": (Tissue.KIDNEY_RIGHT, Tissue.MEDULLA_RIGHT),
    "left kidney": (Tissue.KIDNEY_LEFT, Tissue.MEDULLA_LEFT),
    "renal sinus": (Tissue.RENAL_SINUS,),
    "spleen": (Tissue.SPLEEN,),
    "aorta": (Tissue.AORTA,),
    "vena cava": (Tissue.VENA_CAVA,),
    "stomach": (Tissue.STOMACH,),
    "gallbladder": (Tissue.GALLBLADDER,),
    "pancreas": (Tissue.PANCREAS,),
    "bowel": (Tissue.BOWEL_WALL, *(Tissue.BOWEL + filling for filling in range(BOWEL_FILLINGS))),
}
SIDE = 160  # pixels of a drawn slice
FIELD_MM, THICKNESS_MM, COVERED_MM = (290.0, 400.0), (3.0, 9.0), 210.0
FEWEST, MOST = 16, 40  # slices of an anatomy
RANDOM, LIKE_MR = 0.55, 0.25  # shares of slices: any contrast, one like MR; the others are like CT
ONE_SLICE = 0.1  # share of slices that stand for their neighbours too, as where there is one slice only
GEOMETRY = Strength(rotation=20, zoom=1.35, stretch=0.15, shift=0.12, elastic=0.12)
INTENSITIES = Strength(gamma=0.6, bias=0.3, contrast=0.4, blur=0.4, noise=0.2)
# Tissues that look alike: both sides of one patient always, the others to a random degree.
SIDES = ((Tissue.KIDNEY_LEFT, Tissue.KIDNEY_RIGHT), (Tissue.MEDULLA_LEFT, Tissue.MEDULLA_RIGHT))
ALIKE = (
    (Tissue.LIVER_VESSEL, Tissue.LIVER),
    (Tissue.MEDULLA_RIGHT, Tissue.KIDNEY_RIGHT),
    (Tissue.MESENTERIC_VESSEL, Tissue.VISCERAL_FAT),
)
STRANGE = 1.6  # a smooth field above this value is a spot of another brightness


def draw_anatomy(seed: int, index: int) -> np.ndarray:
    """Tissues of one subject, (Z, 160, 160) uint8."""
    rng = np.random.default_rng([seed, index])
    thickness = rng.uniform(*THICKNESS_MM)
    count = int(np.clip(COVERED_MM / thickness, FEWEST, MOST))
    heights = slice_positions(rng, count, thickness)
    return build_anatomy(rng, place_subject(rng, heights, SIDE, rng.uniform(*FIELD_MM)))


def class_of_tissue() -> Tensor:
    """(TISSUES,) int64: the class of every tissue code, 0 for air."""
    classes = torch.zeros(TISSUES, dtype=torch.int64)
    for place, tissues in enumerate(CLASSES.values(), start=1):
        classes[[int(tissue) for tissue in tissues]] = place
    return classes


def draw_batch(
    anatomies: Sequence[np.ndarray], count: int, size: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Random slices of random subjects, each in a contrast of its own.

    Args:
        anatomies: from `draw_anatomy`.
        count: slices.
        size: their side in pixels; the field of view stays.
        generator: of the randomness.

    Returns:
        images (B, 3, size, size) float32: a slice between its neighbours, of mean 0 and deviation 1 before the last
        changes of contrast; and classes (B, size, size) int64.
    """
    tissues = torch.stack([_three_slices(anatomies, generator) for _ in range(count)])
    grid = random_grid(count, (size, size), generator, GEOMETRY)
    tissues = functional.grid_sample(tissues.float(), grid, mode="nearest", align_corners=False).long()
    contrasts = [_draw_contrast(generator) for _ in range(count)]
    mean, spread = (torch.stack(values) for values in zip(*contrasts, strict=True))
    codes = tissues.flatten(start_dim=1)
    images = mean.gather(1, codes).view(tissues.shape)
    texture = 1.5 * smooth(torch.randn(images.shape, generator=generator))
    texture += 0.6 * smooth_noise((count, 1), 24, (size, size), generator)
    texture += 0.4 * smooth_noise((count, 1), 10, (size, size), generator)
    amount = 0.5 + 1.5 * torch.rand(count, 1, 1, 1, generator=generator)
    images += amount * spread.gather(1, codes).view(tissues.shape) * texture
    spots = smooth_noise((count, 1), 12, (size, size), generator) > STRANGE
    spots = spots & (tissues > 0) & (torch.rand(count, 1, 1, 1, generator=generator) < 0.5)
    images = torch.where(spots, images + (torch.rand(count, 1, 1, 1, generator=generator) - 0.5) / 2, images)
    images = images.clamp(min=0)
    images = (images + smooth(images)) / 2
    images = (images - images.mean((1, 2, 3), keepdim=True)) / images.std((1, 2, 3), keepdim=True).clamp(min=1e-5)
    return change_intensities(images, generator, INTENSITIES), class_of_tissue()[tissues[:, 1]]


def _three_slices(anatomies: Sequence[np.ndarray], generator: torch.Generator) -> Tensor:
    """(3, 160, 160) uint8: a random slice of a random subject between its neighbours."""
    volume = anatomies[int(torch.randint(len(anatomies), (), generator=generator))]
    z = int(torch.randint(1, len(volume) - 1, (), generator=generator))
    step = 0 if float(torch.rand((), generator=generator)) < ONE_SLICE else 1
    return torch.from_numpy(np.stack([volume[z - step], volume[z], volume[z + step]]))


def _draw_contrast(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Mean and deviation of every tissue, (TISSUES,) each, from about 0 to 1."""
    kind = float(torch.rand((), generator=generator))
    if kind < RANDOM:
        mean = torch.rand(TISSUES, generator=generator)
        spread = 0.12 * torch.rand(TISSUES, generator=generator) * (0.3 + mean)
        mean[Tissue.AIR] *= 0.1 * float(torch.rand((), generator=generator) < 0.3)
        spread[Tissue.AIR] *= 0.1
        for one, other in ALIKE:
            share = float(torch.rand((), generator=generator))
            mean[one] = share * mean[one] + (1 - share) * mean[other]
    else:
        mean, spread = _scanner_contrast(MR if kind < RANDOM + LIKE_MR else CT, generator)
    for left, right in SIDES:
        mean[left], spread[left] = mean[right], spread[right]
    return mean, spread


def _scanner_contrast(modality: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """As the phantom's own scans, from ranges wider by 0.3 of their width on either side."""
    low, high = CT_WINDOW_HU
    mean, spread = torch.zeros(TISSUES), torch.zeros(TISSUES)
    mean[Tissue.AIR] = 0 if modality == MR else -1000
    fillings = {int(Tissue.BOWEL) + filling: BOWEL for filling in range(BOWEL_FILLINGS)}
    for code, ranges in {**RANGES, **fillings}.items():
        least, most, texture = ranges[modality]
        wider = 0.3 * (most - least)
        value = least - wider + (most - least + 2 * wider) * float(torch.rand((), generator=generator))
        mean[code], spread[code] = value, texture * abs(value) if modality == MR else texture
    if modality == MR:
        return mean / 1000, spread / 1000
    return (mean.clamp(low, high) - low) / (high - low), spread / (high - low)
