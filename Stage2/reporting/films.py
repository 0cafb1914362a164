"""A scan slice by slice: as a GIF, or all slices on one sheet; superpixels of slices."""

from collections.abc import Mapping, Sequence
from math import ceil
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from PIL import Image, ImageDraw
from skimage.color import label2rgb
from skimage.segmentation import find_boundaries

from Stage2.reporting.figures import CLASS_COLOURS, OUTLINE, Panel, draw_panel, rgb

FRAME_MS = 350
COLUMNS = 6


def montage_figure(panels: Sequence[Panel], classes: Sequence[str], caption: str = "") -> Figure:
    """All slices of a scan on one sheet, in reading order.

    Args:
        panels: of the slices.
        classes: names of the class numbers 1, 2, ... in the panels' masks.
        caption: line at the foot.

    Raises:
        ValueError: no panels.
    """
    if not panels:
        raise ValueError("no slice to draw; choose a scan that shows the organ")
    columns = min(COLUMNS, len(panels))
    rows = ceil(len(panels) / columns)
    figure = Figure(figsize=(2.0 * columns, 2.2 * rows + 0.7), layout="constrained")
    for number, axes in enumerate(figure.subplots(rows, columns, squeeze=False).ravel()):
        if number < len(panels):
            draw_panel(axes, panels[number])
        else:
            axes.set_axis_off()
    patches = [Patch(color=CLASS_COLOURS[n % len(CLASS_COLOURS)], label=name) for n, name in enumerate(classes)]
    if patches:
        figure.legend(handles=patches, loc="outside upper left", ncols=len(patches), frameon=False, fontsize=9)
    if caption:
        figure.supxlabel(caption, fontsize=9, color="#444444")
    return figure


def save_gif(panels: Sequence[Panel], path: Path, scale: int = 2) -> None:
    """Write the slices as an endless film, whole or not at all: predictions filled, the edge of the truth drawn.

    Raises:
        ValueError: no panels.
    """
    if not panels:
        raise ValueError("no slice to draw; choose a scan that shows the organ")
    frames = [_frame(panel, scale) for panel in panels]
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    frames[0].save(partial, format="GIF", save_all=True, append_images=frames[1:], duration=FRAME_MS, loop=0)
    partial.replace(path)


def superpixel_figure(
    rows: Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray | None]], caption: str = ""
) -> Figure:
    """Slices, their superpixels, and, where there are labels, the outlines of the organs on the superpixels.

    Args:
        rows: text -> (slice (H, W), superpixels (H, W) with 0 outside the body, label (H, W) or None).
        caption: line at the foot.
    """
    titles = ["slice", "superpixels", "organs on superpixels"]
    with_label = any(label is not None for _, _, label in rows.values())
    columns = 3 if with_label else 2
    figure = Figure(figsize=(2.6 * columns, 2.7 * len(rows) + 0.7), layout="constrained")
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for number, (text, (image, superpixels, label)) in enumerate(rows.items()):
        plain = rgb(Panel(image))
        coloured = label2rgb(superpixels, plain, alpha=0.35, bg_label=0)
        coloured[find_boundaries(superpixels, mode="inner")] = 1
        pictures = [plain, coloured, label2rgb(superpixels, plain, alpha=0.2, bg_label=0)][:columns]
        for axes, picture, title in zip(grid[number], pictures, titles, strict=False):
            axes.imshow(picture, interpolation="nearest")
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
            if number == 0:
                axes.set_title(title, fontsize=11)
        grid[number][0].set_ylabel(text, fontsize=10)
        grid[number][1].set_xlabel(f"{len(np.unique(superpixels[superpixels > 0]))} superpixels", fontsize=9)
        if label is not None:
            for place, value in enumerate(int(value) for value in np.unique(label) if value):
                own = (label == value).astype(float)
                colour = CLASS_COLOURS[place % len(CLASS_COLOURS)]
                grid[number][2].contour(own, levels=[0.5], colors=[colour], linewidths=1.3)
    if caption:
        figure.supxlabel(caption, fontsize=9, color="#444444")
    return figure


def _frame(panel: Panel, scale: int) -> Image.Image:
    picture = np.repeat(np.repeat(rgb(panel), scale, axis=0), scale, axis=1)
    if panel.drawn is not None and panel.predicted is not None:
        large = np.repeat(np.repeat(panel.drawn, scale, axis=0), scale, axis=1)
        for number in (int(value) for value in np.unique(large) if value):
            edge = find_boundaries(large == number, mode="inner")
            colour = OUTLINE if large.dtype == bool else CLASS_COLOURS[(number - 1) % len(CLASS_COLOURS)]
            picture[edge] = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    frame = Image.fromarray((255 * picture).round().astype(np.uint8))
    ImageDraw.Draw(frame).text((6, 4), panel.text, fill="white")
    return frame.quantize(128, dither=Image.Dither.NONE)
