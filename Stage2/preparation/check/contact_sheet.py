"""Contact sheet of a prepared scan: its slices with label contours and superpixel borders on one picture."""

import os
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np

COLUMNS = 6
MAX_SLICES = 48  # of longer scans, as many slices at equal distances
TITLE_HEIGHT = 52  # pixels
GAP = 4
BACKGROUND = 24
BORDER_STRENGTH = 0.55  # of superpixel borders against the image beneath them
BORDER = (90, 190, 255)
# Kelly's colours of high contrast, without those that look like the image or the borders; RGB.
COLOURS = (
    (255, 179, 0), (255, 60, 60), (60, 220, 90), (240, 110, 240), (0, 230, 220), (255, 255, 80), (255, 122, 92),
    (150, 120, 255), (180, 240, 0), (246, 118, 142), (0, 170, 110), (244, 200, 150), (200, 30, 120),
)  # fmt: skip


def draw_contact_sheet(
    image: np.ndarray,
    label: np.ndarray | None,
    superpixels: np.ndarray | None,
    classes: Mapping[str, int],
    title: str,
) -> np.ndarray:
    """Slices in reading order, first slice first, each as Stage 2 sees it.

    Args:
        image: (Z, H, W), any range; shown from its 1st to its 99.5th percentile.
        label: (Z, H, W) integers; None: there is none.
        superpixels: (Z, H, W) integers, 0 outside the body; None: there are none.
        classes: class name -> label value; those above 0 get an outline and a place in the legend.
        title: first line of the sheet.

    Returns:
        Sheet (height, width, 3) uint8, RGB.
    """
    depth, height, width = image.shape
    shown = np.arange(depth) if depth <= MAX_SLICES else np.linspace(0, depth - 1, MAX_SLICES).round().astype(int)
    low, high = np.percentile(image, (1, 99.5))
    grey = (np.clip((image[shown] - low) / max(high - low, 1e-6), 0, 1) * 255).astype(np.uint8)
    colours = class_colours(classes)

    rows = -(-len(shown) // COLUMNS)
    sheet = np.full((TITLE_HEIGHT + rows * (height + GAP), COLUMNS * (width + GAP) - GAP, 3), BACKGROUND, np.uint8)
    for place, z in enumerate(shown):
        tile = np.repeat(grey[place][..., None], 3, axis=2)
        if superpixels is not None:
            borders = inner_borders(superpixels[z])
            mixed = BORDER_STRENGTH * np.array(BORDER) + (1 - BORDER_STRENGTH) * tile[borders]
            tile[borders] = mixed.astype(np.uint8)
        for name, colour in colours.items() if label is not None else ():
            tile[outline(label[z] == classes[name])] = colour
        _write(tile, str(z), (4, height - 6), (255, 255, 255))
        row, column = divmod(place, COLUMNS)
        top, left = TITLE_HEIGHT + row * (height + GAP), column * (width + GAP)
        sheet[top : top + height, left : left + width] = tile

    _write(sheet, title, (8, 20), (255, 255, 255))
    x = 8
    if superpixels is not None:
        x = _write(sheet, "superpixel borders", (x, 42), BORDER) + 16
    for name, colour in colours.items() if label is not None else ():
        x = _write(sheet, name, (x, 42), colour) + 16
    return sheet


def class_colours(classes: Mapping[str, int]) -> dict[str, tuple[int, int, int]]:
    """Class name -> RGB, without the background; the same class table gives the same colours."""
    names = [name for name, value in classes.items() if value > 0]
    return {name: COLOURS[place % len(COLOURS)] for place, name in enumerate(names)}


def outline(mask: np.ndarray) -> np.ndarray:
    """Pixels of a mask (H, W) bool that touch its outside, the edge of the picture included, (H, W) bool."""
    return mask & ~cv2.erode(mask.astype(np.uint8), np.ones((3, 3)), borderValue=0).astype(bool)


def inner_borders(superpixels: np.ndarray) -> np.ndarray:
    """Pixels of superpixels (H, W) whose right or lower neighbour is of another one, or outside; (H, W) bool."""
    padded = np.pad(superpixels, ((0, 1), (0, 1)))
    here = padded[:-1, :-1]
    return (here > 0) & ((here != padded[1:, :-1]) | (here != padded[:-1, 1:]))


def write_png(path: Path, picture: np.ndarray) -> None:
    """Write a picture (H, W, 3) uint8 RGB whole or not at all; the folder is made.

    Raises:
        OSError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    encoded = cv2.imencode(".png", picture[..., ::-1])[1]
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(encoded.tobytes())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _write(picture: np.ndarray, text: str, place: tuple[int, int], colour: tuple[int, int, int]) -> int:
    """Write text with its lower left corner at a place (x, y); returns the x of its end."""
    font, size = cv2.FONT_HERSHEY_SIMPLEX, 0.5
    width, height = cv2.getTextSize(text, font, size, 1)[0]
    x, y = place
    picture[max(y - height - 3, 0) : y + 4, max(x - 3, 0) : x + width + 3] = BACKGROUND  # to be read on any picture
    cv2.putText(picture, text, place, font, size, colour, 1, cv2.LINE_AA)
    return x + width
