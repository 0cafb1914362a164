"""Space of the phantom: random smooth fields, the pose of a subject in the scanner, ellipsoids in it."""

from dataclasses import dataclass

import cv2
import numpy as np

FIELD_OF_VIEW_MM = 320.0
SLICE_THICKNESS_MM = 7.7


@dataclass(frozen=True)
class Frame:
    """Where every voxel lies in the reference adult the organs are described in, in mm.

    Axes: x to the patient's left, y to the front, z to the head; the origin is the middle of the trunk at kidney level.
    `x`, `y`, `z` are (Z, H, W) float32; `axes` holds the scanner positions (z, y, x) of slices, rows and columns, and
    `margin` the largest distance between the two along each of these axes.
    """

    x: np.ndarray
    y: np.ndarray
    z: np.ndarray
    axes: tuple[np.ndarray, np.ndarray, np.ndarray]
    margin: tuple[float, float, float]


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int, int], cells: tuple[int, int, int]) -> np.ndarray:
    """Smooth random field (Z, H, W) float32 of about unit variance: white noise on `cells` (z, y, x), interpolated."""
    depth, height, width = shape
    coarse = rng.standard_normal(cells).astype(np.float32)
    planes = [cv2.resize(plane, (width, height), interpolation=cv2.INTER_CUBIC) for plane in coarse]
    field = np.empty(shape, np.float32)
    for index, position in enumerate(np.linspace(0, cells[0] - 1, depth)):
        below = min(int(position), max(cells[0] - 2, 0))
        above = min(below + 1, cells[0] - 1)
        weight = np.float32((1 - np.cos(np.pi * (position - below))) / 2)
        field[index] = (1 - weight) * planes[below] + weight * planes[above]
    return field


def slice_positions(rng: np.random.Generator, count: int, thickness: float = SLICE_THICKNESS_MM) -> np.ndarray:
    """Heights (count,) in mm of the slices of a scan that starts just below the kidneys."""
    return rng.uniform(-72, -56) + thickness * np.arange(count)


def place_subject(
    rng: np.random.Generator, heights_mm: np.ndarray, size: int, field_of_view: float = FIELD_OF_VIEW_MM
) -> Frame:
    """Random build, pose and smooth deformation of one subject, seen on `size` x `size` slices at `heights_mm`."""
    shape = (len(heights_mm), size, size)
    pixels = ((np.arange(size) - (size - 1) / 2) * field_of_view / size).astype(np.float32)
    heights = heights_mm.astype(np.float32)
    width, depth, height = rng.uniform(0.96, 1.12), rng.uniform(0.93, 1.16), rng.uniform(0.92, 1.08)
    angle, shift_x, shift_y = np.deg2rad(rng.normal(0, 2.5)), rng.normal(0, 5), rng.normal(-3, 6)
    across, along = (pixels - shift_x)[None, None, :], (pixels - shift_y)[None, :, None]
    cosine, sine = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    bend = [smooth_noise(rng, shape, (4, 6, 6)) for _ in range(3)]
    x = (cosine * across + sine * along) / np.float32(width) + 4.5 * bend[0]
    y = (cosine * along - sine * across) / np.float32(depth) + 4.5 * bend[1]
    z = heights[:, None, None] / np.float32(height) + 4.5 * bend[2]
    axes = (heights, pixels, pixels)
    raw = (heights[:, None, None], pixels[None, :, None], pixels[None, None, :])
    margin = tuple(float(np.abs(canonical - scanner).max()) for canonical, scanner in zip((z, y, x), raw, strict=True))
    return Frame(x, y, z, axes, margin)


def ellipsoid(
    frame: Frame, centre: tuple, radii: tuple, turn_deg: float = 0.0, tilt_deg: float = 0.0
) -> tuple[tuple[slice, slice, slice], np.ndarray]:
    """Quadratic form of an ellipsoid (below 1 inside) on the part of the frame that can hold it.

    Args:
        centre, radii: (x, y, z) in mm of the reference adult.
        turn_deg: rotation about z.
        tilt_deg: rotation about y, applied after the turn.

    Returns:
        the box of voxels and the form inside this box.
    """
    turn, tilt = np.deg2rad(turn_deg), np.deg2rad(tilt_deg)
    about_z = np.array([[np.cos(turn), np.sin(turn), 0], [-np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    about_y = np.array([[np.cos(tilt), 0, np.sin(tilt)], [0, 1, 0], [-np.sin(tilt), 0, np.cos(tilt)]])
    # Twice the form inside a shape grown by 10 % is what painting a capsule around it needs.
    axes_of_form = (about_z @ about_y) / np.asarray(radii, float)[:, None]
    reach = 1.15 * np.sqrt(np.diag(np.linalg.inv(axes_of_form.T @ axes_of_form)))
    box = []
    for axis, margin, middle, extent in zip(frame.axes, frame.margin, centre[::-1], reach[::-1], strict=True):
        first, last = np.searchsorted(axis, [middle - extent - margin, middle + extent + margin])
        box.append(slice(int(first), int(last)))
    box = tuple(box)
    x, y, z = (axis[box] - np.float32(middle) for axis, middle in zip((frame.x, frame.y, frame.z), centre, strict=True))
    form = np.zeros_like(x)
    for row in axes_of_form.astype(np.float32):
        form += (row[0] * x + row[1] * y + row[2] * z) ** 2
    return box, form
