"""A scan slice by slice as a GIF; slices with their superpixels."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image, ImageDraw
from skimage.color import label2rgb

from Stage1.files import whole_file
from Stage2.drawing.figures import MUTED, Panel, bare, draw_contour, expert_colour, masks_in
from Stage2.drawing.masks import as_bytes, borders, colour_of, coloured, outline, paint

FRAME_MS = 350


def save_gif(panels: Sequence[Panel], path: Path, scale: int = 2) -> None:
    """Write the slices as an endless film, whole or not at all: predictions filled, the edge of the truth drawn.

    Raises:
        ValueError: no panels.
        OSError: as `whole_file`.
    """
    if not panels:
        raise ValueError("no slice to draw; choose a scan that shows the organ")
    frames = [_frame(panel, scale) for panel in panels]
    with whole_file(path) as temporary:
        frames[0].save(temporary, format="GIF", save_all=True, append_images=frames[1:], duration=FRAME_MS, loop=0)


def superpixel_figure(
    rows: Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray | None]], caption: str = ""
) -> Figure:
    """Slices, their superpixels, and, where there are labels, the outlines of the organs on the superpixels.

    Args:
        rows: text -> (slice (H, W), superpixels (H, W) with 0 outside the body, label (H, W) or None).
        caption: line at the foot.
    """
    titles = ["slice", "superpixels", "organs on superpixels"]
    columns = 3 if any(label is not None for _, _, label in rows.values()) else 2
    figure = Figure(figsize=(2.6 * columns, 2.7 * len(rows) + 0.7), layout="constrained")
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for axes, title in zip(grid[0], titles, strict=False):
        axes.set_title(title, fontsize=11)
    for line, (text, (image, superpixels, label)) in zip(grid, rows.items(), strict=True):
        plain = coloured(image)
        bordered = label2rgb(superpixels, plain, alpha=0.35, bg_label=0)
        paint(bordered, borders(superpixels), "#ffffff", strength=1)
        for axes, picture in zip(line, (plain, bordered, label2rgb(superpixels, plain, alpha=0.2, bg_label=0)),
                                 strict=False):  # fmt: skip
            axes.imshow(picture, interpolation="nearest")
            bare(axes)
        line[0].set_ylabel(text, fontsize=10)
        line[1].set_xlabel(f"{len(np.unique(superpixels[superpixels > 0]))} superpixels", fontsize=9)
        for number, (own, _) in enumerate(masks_in(label), start=1):
            draw_contour(line[2], own, colour_of(number))
    figure.supxlabel(caption, fontsize=9, color=MUTED)
    return figure


def _frame(panel: Panel, scale: int) -> Image.Image:
    def enlarged(picture: np.ndarray) -> np.ndarray:
        return picture.repeat(scale, axis=0).repeat(scale, axis=1)

    picture = enlarged(panel.painted())
    for own, _ in masks_in(panel.outlined):
        paint(picture, outline(enlarged(own)), expert_colour(panel.drawn), strength=1)
    frame = Image.fromarray(as_bytes(picture))
    ImageDraw.Draw(frame).text((6, 4), panel.text, fill="white")
    return frame.quantize(128, dither=Image.Dither.NONE)
