"""Pictures of what masked pretext tasks rebuild: rows of images, panels side by side."""

import numpy as np
from torch import Tensor


def sheet(panels: Tensor, mean: Tensor, std: Tensor) -> np.ndarray:
    """Panels as one picture.

    Args:
        panels: (N, P, 3, H, W) float32, normalised: one row of P panels for each image.
        mean, std: (1, 3, 1, 1), what they were normalised by.

    Returns:
        (N * H, P * W, 3) uint8.
    """
    pixels = (panels * std + mean).clamp(0, 1).mul(255).round().byte()
    rows, count, channels, height, width = pixels.shape
    return pixels.permute(0, 3, 1, 4, 2).reshape(rows * height, count * width, channels).cpu().numpy()
