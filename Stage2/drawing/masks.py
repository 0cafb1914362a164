"""Slices and masks as pictures: grey from intensities, colours of classes, masks painted or outlined."""

from pathlib import Path

import cv2
import numpy as np

from Stage1.files import whole_file

# Okabe and Ito's colours, told apart by colour-blind eyes: orange, sky blue, green, yellow, blue, vermilion, purple.
COLOURS = ("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7")
# Kelly's colours of high contrast, for outlines without a fill beside the sky blue borders of superpixels.
OUTLINE_COLOURS = (
    "#ffb300", "#ff3c3c", "#3cdc5a", "#f06ef0", "#00e6dc", "#ffff50", "#ff7a5c", "#9678ff", "#b4f000", "#f6768e",
    "#00aa6e", "#f4c896", "#c81e78",
)  # fmt: skip
MASK = "#ffe119"  # of the only class in a picture: yellow, as in the published figure
EXPERT = "#ffffff"  # outlines of what an expert drew, over predictions of several classes
PERCENTILES = (1, 99.5)  # of intensities, shown black and white
JPEG_QUALITY = 88


def colour_of(number: int) -> str:
    """Colour of class 1, 2, ...; they repeat after seven."""
    return COLOURS[(number - 1) % len(COLOURS)]


def rgb(colour: str) -> tuple[int, int, int]:
    """Red, green and blue of #rrggbb, 0 to 255."""
    return tuple(int(colour[start : start + 2], 16) for start in (1, 3, 5))


def window_of(image: np.ndarray) -> tuple[float, float]:
    """The intensities to show black and white."""
    low, high = np.percentile(image, PERCENTILES)
    return float(low), float(high)


def grey(image: np.ndarray, window: tuple[float, float] | None = None) -> np.ndarray:
    """Intensities of any shape as float64 in [0, 1].

    Args:
        window: intensities shown black and white; None: those of this image.
    """
    low, high = window or window_of(image)
    return np.clip((image.astype(np.float64) - low) / max(high - low, 1e-6), 0, 1)


def coloured(image: np.ndarray, window: tuple[float, float] | None = None) -> np.ndarray:
    """A slice (H, W) as grey RGB to paint on, (H, W, 3) float64 in [0, 1]."""
    return np.repeat(grey(image, window)[..., None], 3, axis=2)


def paint(picture: np.ndarray, mask: np.ndarray, colour: str, strength: float = 0.5) -> None:
    """Paint a mask (H, W) bool on a picture (H, W, 3) float in [0, 1]."""
    picture[mask] = (1 - strength) * picture[mask] + strength * np.array(rgb(colour)) / 255


def outline(mask: np.ndarray) -> np.ndarray:
    """Pixels of a mask (H, W) bool next to its edge, bool; the edge of the picture is one."""
    return mask & ~cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8), borderValue=0).astype(bool)


def borders(segments: np.ndarray) -> np.ndarray:
    """Pixels of segments (H, W), above 0, whose right or lower neighbour is of another one, or of none; (H, W) bool."""
    padded = np.pad(segments, ((0, 1), (0, 1)))
    here = padded[:-1, :-1]
    return (here > 0) & ((here != padded[1:, :-1]) | (here != padded[:-1, 1:]))


def overlay(mask: np.ndarray, colour: str, fill: float = 0.45) -> np.ndarray:
    """A mask (H, W) bool as a layer (H, W, 4) uint8 of red, green, blue and opacity: filled, its outline opaque."""
    layer = np.zeros((*mask.shape, 4), dtype=np.uint8)
    layer[mask] = [*rgb(colour), round(255 * fill)]
    layer[outline(mask), 3] = 255
    return layer


def as_bytes(picture: np.ndarray) -> np.ndarray:
    """A picture in [0, 1] as uint8."""
    return (255 * picture).round().astype(np.uint8)


def encoded(picture: np.ndarray, ending: str = ".png") -> bytes:
    """A PNG or JPEG file of a picture uint8: grey (H, W), RGB (H, W, 3) or with opacity (H, W, 4)."""
    if picture.ndim == 3:
        picture = picture[..., [2, 1, 0, 3][: picture.shape[2]]]
    options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY] if ending == ".jpg" else []
    return cv2.imencode(ending, picture, options)[1].tobytes()


def write_png(path: Path, picture: np.ndarray) -> None:
    """Write a picture uint8 whole or not at all; its folder is made. Raises OSError as `whole_file`."""
    with whole_file(path) as temporary:
        temporary.write_bytes(encoded(picture))
