"""Drawn slices with known cells."""

import numpy as np

from Stage2.evaluation.cells import ScanCells

NAMES = ["BG", "A", "B"]


def scan_cells(seed: int, n_slices: int = 3, side: int = 64) -> ScanCells:
    """Slices whose brightness tells the class of a cell: organs A and B are blocks of cells."""
    labels = np.zeros((n_slices, side // 8, side // 8), dtype=np.int64)
    labels[:, 1:4, 1:4], labels[:, 4:7, 3:7] = 1, 2
    pixels = labels.repeat(8, axis=1).repeat(8, axis=2)
    noise = np.random.default_rng(seed).normal(0, 0.1, pixels.shape)
    everywhere = np.ones(labels.shape, dtype=bool)
    return ScanCells((pixels * 2.0 - 1 + noise).astype(np.float32), labels, everywhere, everywhere)
