"""Contact sheet of a prepared scan: its slices with label contours and borders of pseudo-labels on one picture."""

from collections.abc import Mapping

import cv2
import numpy as np

from Stage2.drawing.masks import OUTLINE_COLOURS, as_bytes, borders, coloured, outline, paint, rgb, window_of

COLUMNS = 6
MAX_SLICES = 48  # of longer scans, as many slices at equal distances
TITLE_HEIGHT = 52  # pixels
GAP = 4
BACKGROUND = 24
BORDER_STRENGTH = 0.55  # of borders of pseudo-labels against the image beneath them
BORDER, SUPERVOXEL_BORDER = "#5abeff", "#ffffff"


def draw_contact_sheet(
    image: np.ndarray,
    label: np.ndarray | None,
    superpixels: np.ndarray | None,
    classes: Mapping[str, int],
    title: str,
    supervoxels: np.ndarray | None = None,
) -> np.ndarray:
    """Slices in reading order, first slice first, each as Stage 2 sees it.

    Args:
        image: (Z, H, W), any range; shown from its 1st to its 99.5th percentile.
        label: (Z, H, W) integers; None: there is none.
        superpixels: (Z, H, W) integers, 0 outside the body; None: there are none.
        classes: class name -> label value; those above 0 get an outline and a place in the legend.
        title: first line of the sheet.
        supervoxels: (Z, H, W) integers, 0 outside the body; None: there are none.

    Returns:
        Sheet (height, width, 3) uint8, RGB.
    """
    depth, height, width = image.shape
    shown = np.arange(depth) if depth <= MAX_SLICES else np.linspace(0, depth - 1, MAX_SLICES).round().astype(int)
    window, colours = window_of(image), class_colours(classes)
    bordered = [(superpixels, "superpixel borders", BORDER), (supervoxels, "supervoxel borders", SUPERVOXEL_BORDER)]
    bordered = [one for one in bordered if one[0] is not None]

    rows = -(-len(shown) // COLUMNS)
    sheet = np.full((TITLE_HEIGHT + rows * (height + GAP), COLUMNS * (width + GAP) - GAP, 3), BACKGROUND, np.uint8)
    for place, z in enumerate(shown):
        tile = coloured(image[z], window)
        for segments, _, colour in bordered:
            paint(tile, borders(segments[z]), colour, BORDER_STRENGTH)
        for name, colour in colours.items() if label is not None else ():
            paint(tile, outline(label[z] == classes[name]), colour, strength=1)
        tile = as_bytes(tile)
        _write(tile, str(z), (4, height - 6))
        row, column = divmod(place, COLUMNS)
        top, left = TITLE_HEIGHT + row * (height + GAP), column * (width + GAP)
        sheet[top : top + height, left : left + width] = tile

    _write(sheet, title, (8, 20))
    x = 8
    for _, name, colour in bordered:
        x = _write(sheet, name, (x, 42), colour) + 16
    for name, colour in colours.items() if label is not None else ():
        x = _write(sheet, name, (x, 42), colour) + 16
    return sheet


def class_colours(classes: Mapping[str, int]) -> dict[str, str]:
    """Class name -> colour, without the background; the same class table gives the same colours."""
    names = [name for name, value in classes.items() if value > 0]
    return {name: OUTLINE_COLOURS[place % len(OUTLINE_COLOURS)] for place, name in enumerate(names)}


def _write(picture: np.ndarray, text: str, place: tuple[int, int], colour: str = "#ffffff") -> int:
    """Write text with its lower left corner at a place (x, y); returns the x of its end."""
    font, size = cv2.FONT_HERSHEY_SIMPLEX, 0.5
    width, height = cv2.getTextSize(text, font, size, 1)[0]
    x, y = place
    picture[max(y - height - 3, 0) : y + 4, max(x - 3, 0) : x + width + 3] = BACKGROUND  # to be read on any picture
    cv2.putText(picture, text, place, font, size, rgb(colour), 1, cv2.LINE_AA)
    return x + width
