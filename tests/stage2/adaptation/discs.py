"""Scans on the working grid: bright and dark discs for organs."""

import torch

from Stage2.adaptation.working_grid import AnnotatedSlices

VALUES = (0.0, 1.5, -1.0)  # of background and organs


def disc_scan(seed: int = 0, count: int = 4, side: int = 32) -> AnnotatedSlices:
    """A scan of two discs of other places in every slice; the first and the last slice show none."""
    generator = torch.Generator().manual_seed(seed)
    row, column = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    labels = torch.zeros(count, side, side, dtype=torch.int64)
    for z in range(1, count - 1):
        for organ, middle in ((1, 0.3), (2, 0.7)):
            y, x = side * (0.4 + 0.2 * torch.rand(2, generator=generator))
            labels[z][(row - y) ** 2 + (column - x - (middle - 0.5) * side) ** 2 < (side / 6) ** 2] = organ
    images = torch.tensor(VALUES)[labels] + 0.2 * torch.randn(labels.shape, generator=generator)
    return AnnotatedSlices(f"scan {seed}", images, labels, torch.ones(count, 2, dtype=torch.bool))
