"""Radiograph-like phantom images: projections of chest and abdomen, and single slices among them, for Stage 1."""

import cv2
import numpy as np

from Stage2.phantom.anatomy import build_anatomy
from Stage2.phantom.geometry import place_subject, smooth_noise
from Stage2.phantom.imaging import render_ct, render_mr

# Linear attenuation in 1/mm at the energies of a diagnostic tube, relative to air: water about 0.02.
SOFT_TISSUE = 0.019
INFLATED_LUNG = 0.005
BONE_EXCESS = 0.022


def draw_radiograph(rng: np.random.Generator, longest_side: int) -> np.ndarray:
    """One image (H, W) uint8: a chest (50 %) or abdominal (25 %) projection, or an axial slice (25 %)."""
    view = rng.choice(["chest", "abdomen", "slice"], p=[0.5, 0.25, 0.25])
    if view == "slice":
        return _axial_slice(rng, longest_side)
    shape = (longest_side, int(longest_side * rng.uniform(0.8, 1)))
    if rng.random() < 0.5:
        shape = shape[::-1]
    across, down = _film_coordinates(rng, shape)
    thickness = _chest(rng, across, down) if view == "chest" else _abdomen(rng, across, down)
    return _expose(rng, thickness)


def _axial_slice(rng: np.random.Generator, longest_side: int) -> np.ndarray:
    """A CT-like or MR-like slice, the front of the body up or down, as figures of articles show them."""
    tissue = build_anatomy(rng, place_subject(rng, rng.uniform(-60, 100, size=1), longest_side))
    image = (render_ct if rng.random() < 0.5 else render_mr)(rng, tissue)[0]
    margin = int(rng.integers(0, longest_side // 10 + 1))
    image = image[margin : longest_side - margin, : longest_side - margin]
    if rng.random() < 0.5:
        image = image[::-1]
    return (np.clip(image / (image.max() + 1e-6) * rng.uniform(0.8, 1.2), 0, 1) * 255).astype(np.uint8)


def _film_coordinates(rng: np.random.Generator, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Position (across, down) in mm of the reference adult of every pixel (H, W), under a random pose and build."""
    height, width = shape
    zoom = rng.uniform(340, 430) / max(shape)
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    rows, columns = (rows - height / 2) * zoom + rng.normal(0, 12), (columns - width / 2) * zoom + rng.normal(0, 10)
    angle = np.deg2rad(rng.normal(0, 3))
    bend = smooth_noise(rng, (2, *shape), (2, 5, 5))
    across = (columns * np.cos(angle) + rows * np.sin(angle)) / rng.uniform(0.88, 1.12) + 6 * bend[0]
    down = (rows * np.cos(angle) - columns * np.sin(angle)) / rng.uniform(0.9, 1.1) + 6 * bend[1]
    return across.astype(np.float32), down.astype(np.float32)


def _chord(
    across: np.ndarray, down: np.ndarray, centre: tuple[float, float], radii: tuple[float, ...], turn: float = 0
) -> np.ndarray:
    """Length in mm, (H, W), of the ray through an ellipsoid with radii (across, down, along the ray): exact."""
    cosine, sine = np.cos(np.deg2rad(turn)), np.sin(np.deg2rad(turn))
    u, v = across - centre[0], down - centre[1]
    form = ((u * cosine + v * sine) / radii[0]) ** 2 + ((v * cosine - u * sine) / radii[1]) ** 2
    return 2 * radii[2] * np.sqrt(np.maximum(1 - form, 0))


def _stroke(across: np.ndarray, down: np.ndarray, curve: np.ndarray, radius: float) -> np.ndarray:
    """Bone thickness in mm, (H, W), of a hollow tube of `radius` mm along a polyline `curve` (N, 2) in mm."""
    # The film coordinates are nearly linear, so the nearest pixel of a curve point serves to draw it.
    pixels_per_mm = 1 / abs(across[0, 1] - across[0, 0])
    middle = (across.shape[0] // 2, across.shape[1] // 2)
    scale = np.array([pixels_per_mm, pixels_per_mm])
    points = (curve - [across[middle], down[middle]]) * scale + [middle[1], middle[0]]
    canvas = np.zeros(across.shape, np.float32)
    line = [np.round(points * 16).astype(np.int32)]
    width = 2 * radius * pixels_per_mm
    cv2.polylines(canvas, line, False, 1.0, max(1, round(width)), cv2.LINE_AA, 4)
    core = np.zeros_like(canvas)
    cv2.polylines(core, line, False, 1.0, max(1, round(0.6 * width)), cv2.LINE_AA, 4)
    return 13 * cv2.GaussianBlur(canvas - 0.4 * core, (0, 0), 0.8)


def _spine(across: np.ndarray, down: np.ndarray, rng: np.random.Generator, pitch: float) -> np.ndarray:
    """Excess attenuation (H, W) of vertebral bodies, pedicles and spinous processes along the midline."""
    column = _chord(across, down, (0, 0), (rng.uniform(17, 21), 1000, 14))
    phase = (down + rng.uniform(0, pitch)) % pitch / pitch
    vertebra = 0.45 + 0.55 * np.clip(np.minimum(phase, 1 - phase) * 8 - 0.3, 0, 1)
    beside = np.exp(-(((np.abs(across) - 12) / 4) ** 2) - ((phase - 0.4) / 0.15) ** 2)
    process = np.exp(-((across / 3) ** 2) - ((phase - 0.75) / 0.12) ** 2)
    return BONE_EXCESS * (0.8 * column * vertebra + 8 * beside + 8 * process)


def _ribs(
    across: np.ndarray, down: np.ndarray, rng: np.random.Generator, heights: np.ndarray, reach: np.ndarray
) -> np.ndarray:
    """Excess attenuation (H, W) of ribs: back arcs that fall outward, fainter front arcs that fall inward."""
    bone = np.zeros_like(across)
    t = np.linspace(0, 1, 24)
    for height, extent in zip(heights, reach, strict=True):
        for side in (-1, 1):
            slope = rng.normal(34, 3)
            x = side * (16 + (extent - 16) * np.sin(t * np.pi / 2))
            back = np.stack([x, height - 14 * np.sin(3 * t) + slope * t**2.2], 1)
            x = side * (extent - (extent - 30) * t**1.3)
            front = np.stack([x, height + slope + 26 * t + 10 * np.sin(3 * t)], 1)
            bone += _stroke(across, down, back, rng.uniform(4, 5.5))
            bone += 0.55 * _stroke(across, down, front, rng.uniform(4.5, 6))
    return BONE_EXCESS * bone


def _trunk(across: np.ndarray, half_width: np.ndarray, depth: float) -> np.ndarray:
    """Soft tissue (H, W): a superellipse of `half_width` (H, W) and `depth` mm across the ray."""
    return SOFT_TISSUE * 2 * depth * np.maximum(1 - (np.abs(across) / half_width) ** 2.6, 0) ** (1 / 2.6)


def _chest(rng: np.random.Generator, across: np.ndarray, down: np.ndarray) -> np.ndarray:
    """Attenuation integral (H, W) of a frontal chest view: trunk, shoulders, lungs, heart, ribs, clavicles."""
    half_width = 152 + 12 * np.clip(down / 150, -1, 1) - 95 / (1 + np.exp((down + 150) / 9))
    total = _trunk(across, np.maximum(half_width, 30), rng.uniform(85, 110))
    for side in (-1, 1):
        total += SOFT_TISSUE * _chord(across, down, (side * 165, -10), (40, 130, 35), side * rng.uniform(-8, 4))
    total *= 1 + 0.04 * smooth_noise(rng, (2, *across.shape), (2, 8, 8))[0]

    lungs = np.zeros_like(across)
    for side in (-1, 1):
        place = (side * rng.normal(66, 3), rng.normal(5, 6))
        lung = _chord(across, down, place, (56, 150, 78), side * rng.normal(-5, 2))
        top_of_dome = rng.normal(88 if side < 0 else 98, 12)
        dome = top_of_dome + 0.006 * (across - side * 62) ** 2
        lungs += lung / (1 + np.exp(np.clip((down - dome) / rng.uniform(1.5, 4), -50, 50)))
    place, radii = (rng.normal(24, 6), rng.normal(62, 6)), (rng.uniform(48, 68), rng.uniform(44, 58), 50)
    heart = _chord(across, down, place, radii, 35)
    arch = _chord(across, down, (rng.normal(20, 4), rng.normal(-42, 6)), (20, 24, 26))
    vessels = _chord(across, down, (0, -30), (28, 110, 40))
    lungs = np.maximum(lungs - 0.9 * heart - 0.8 * arch - vessels, 0)
    total -= (SOFT_TISSUE - INFLATED_LUNG) * 0.8 * lungs

    # Vessels branch out from the hila: ridges of a smooth field, stronger towards the middle.
    branches = sum(np.exp(-((smooth_noise(rng, (2, *across.shape), (2, n, n))[0] / 0.16) ** 2)) for n in (14, 26))
    near_hilum = np.exp(-(((np.abs(across) - 30) / 45) ** 2) - ((down - 10) / 70) ** 2)
    total += 0.3 * branches * near_hilum * (lungs > 8)
    if rng.random() < 0.4:  # patchy consolidation
        patches = np.clip(smooth_noise(rng, (2, *across.shape), (2, 9, 9))[0] - rng.uniform(0.3, 1.2), 0, 1)
        total += SOFT_TISSUE * 0.35 * lungs * patches

    heights = np.linspace(-125, 95, 10) + rng.normal(0, 3)
    total += _ribs(across, down, rng, heights, 122 - 62 * np.linspace(1, 0, 10) ** 2.5)
    t = np.linspace(0, 1, 24)
    for side in (-1, 1):
        clavicle = np.stack([side * (14 + 120 * t), -112 - 34 * t + 9 * np.sin(2 * np.pi * t)], 1)
        total += BONE_EXCESS * 1.3 * _stroke(across, down, clavicle, 6)
        total += BONE_EXCESS * 0.6 * _chord(across, down, (side * 158, -135), (22, 24, 14))
    return total + 0.45 * _spine(across, down, rng, 24)


def _abdomen(rng: np.random.Generator, across: np.ndarray, down: np.ndarray) -> np.ndarray:
    """Attenuation integral (H, W) of a frontal abdominal view: trunk, liver, kidneys, psoas, bowel gas, pelvis."""
    half_width = 150 - 14 * np.exp(-(((down - 30) / 60) ** 2))
    total = _trunk(across, half_width, rng.uniform(90, 120))
    excess = 0.05 * SOFT_TISSUE  # organs against the fat between them
    total += excess * 3 * _chord(across, down, (-70, -95), (75, 70, 70), -12)
    for side in (-1, 1):
        total += excess * 4 * _chord(across, down, (side * 62, -20 - 8 * side), (28, 54, 28), side * 12)
        total += excess * 4 * _chord(across, down, (side * 34, 50), (22, 130, 22), -side * 10)
        wing = _chord(across, down, (side * 88, 125), (58, 66, 9), side * 28)
        total += BONE_EXCESS * (wing - 0.55 * _chord(across, down, (side * 80, 118), (44, 52, 9), side * 28))
        total += BONE_EXCESS * _chord(across, down, (side * 118, 205), (30, 30, 16))
    total += BONE_EXCESS * 0.8 * _chord(across, down, (0, 140), (38, 52, 12))
    for _ in range(rng.integers(8, 24)):  # gas, most of it in the colon's frame
        place = (rng.choice([-105, 105, 0]) + rng.normal(0, 28), rng.uniform(-110, 130))
        radii = (rng.uniform(8, 24), rng.uniform(7, 16), rng.uniform(5, 14))
        total -= SOFT_TISSUE * _chord(across, down, place, radii, rng.uniform(-90, 90))
    total += _ribs(across, down, rng, np.array([-200, -172, -146]), np.array([128, 126, 118]))
    total += _spine(across, down, rng, 34)
    return np.maximum(total * (1 + 0.03 * smooth_noise(rng, (2, *across.shape), (2, 14, 14))[0]), 0)


def _expose(rng: np.random.Generator, attenuation: np.ndarray) -> np.ndarray:
    """Film of an attenuation integral (H, W), uint8: Beer-Lambert, scatter, quantum noise, display curve, borders."""
    primary = np.exp(-np.maximum(attenuation, 0))
    scatter = cv2.GaussianBlur(primary, (0, 0), attenuation.shape[0] / 12)
    quanta = 10 ** rng.uniform(3.9, 5.2) * (primary + rng.uniform(0.1, 0.6) * scatter)
    quanta += np.sqrt(quanta) * rng.standard_normal(attenuation.shape)
    film = cv2.GaussianBlur(-np.log(np.maximum(quanta, 1)), (0, 0), rng.uniform(0.5, 0.9))
    local = cv2.GaussianBlur(film, (0, 0), film.shape[0] / 14)
    film += rng.uniform(0.4, 1.6) * (film - local)  # displays enhance local contrast
    low, high = np.percentile(film, [rng.uniform(1, 8), rng.uniform(98, 99.8)])
    film = np.clip((film - low) / max(high - low, 1e-6), 0, 1) ** rng.uniform(0.8, 1.7)
    film = (255 * (rng.uniform(0, 0.1) + rng.uniform(0.8, 0.9) * film)).astype(np.uint8)
    if rng.random() < 0.3:
        height, width = film.shape
        film[: int(rng.integers(0, height // 12))] = 0
        film[height - int(rng.integers(0, height // 12)) :] = 0
        film[:, : int(rng.integers(0, width // 12))] = 0
    if rng.random() < 0.5:
        place = (int(rng.uniform(0.75, 0.9) * film.shape[1]), int(rng.uniform(0.06, 0.15) * film.shape[0]))
        cv2.putText(film, str(rng.choice(["L", "R"])), place, cv2.FONT_HERSHEY_SIMPLEX, rng.uniform(0.4, 0.8), 250, 1)
    return film
