"""Drawn scans with their masks."""

import numpy as np
import SimpleITK as sitk

from Stage2.io.axes import direction_of

MR_SPACING = (1.25, 1.25, 7.7)


def drawn_scan(
    size: tuple[int, int, int] = (160, 128, 5),
    spacing: tuple[float, float, float] = MR_SPACING,
    shift: float = 0.0,
    axes: str = "LAS",
) -> tuple[sitk.Image, sitk.Image]:
    """A body with a bright organ 2 on the patient's right and a dim organ 3 on the left, and their mask.

    Args:
        size: voxels along W, H, Z.
        spacing: of the voxels in mm.
        shift: of the organs along the body, in mm.
        axes: of the grid; the same patient whatever they are, apart from the sampling.
    """
    width, height, depth = (count * step for count, step in zip((160, 128, 5), MR_SPACING, strict=True))
    grid = np.stack(np.meshgrid(*(np.arange(count) for count in size[::-1]), indexing="ij"), axis=-1)[..., ::-1]
    z, y, x = (grid[..., axis] * spacing[axis] for axis in (2, 1, 0))

    def ball(centre: tuple[float, float, float], radii: tuple[float, float, float]) -> np.ndarray:
        places = ((x - width * centre[0], y - height * centre[1], z - depth * centre[2] - shift), radii)
        return sum((place / radius) ** 2 for place, radius in zip(*places, strict=True)) < 1

    body = ((x - width / 2) / (0.47 * width)) ** 2 + ((y - height / 2) / (0.45 * height)) ** 2 < 1
    right, left = ball((0.3, 0.4, 0.45), (26, 22, 18)), ball((0.72, 0.55, 0.45), (20, 24, 18))
    texture = 20 * np.sin(x / 9) * np.cos(y / 7) + 0.4 * z
    voxels = np.where(body, 200 + texture + 300 * right + 120 * left, 5.0)
    mask = (2 * right + 3 * left).astype(np.uint8)
    images = []
    for values in (voxels.astype(np.float32), mask):
        image = sitk.GetImageFromArray(values)
        image.SetSpacing(spacing)
        image.SetDirection(direction_of("LAS").flatten().tolist())
        image.SetOrigin((-90.0, 80.0, -20.0))
        images.append(image if axes == "LAS" else sitk.DICOMOrient(image, axes))
    return images[0], images[1]


def dice(one: np.ndarray, other: np.ndarray) -> float:
    return 2 * np.count_nonzero(one & other) / max(np.count_nonzero(one) + np.count_nonzero(other), 1)
