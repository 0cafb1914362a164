"""Figures of runs: curves, bars of scores, grids of segmented slices, films through scans."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

Curves = Mapping[str, tuple[Sequence[float], Sequence[float]]]

MASK = "#ffe119"  # yellow, as in the published figure
OUTLINE = "#00e5d0"  # of what an expert drew, over a prediction
CLASS_COLOURS = ("#ffe119", "#f58231", "#4fc3f7", "#e06ad4", "#7bd389", "#ff6b6b")  # several classes in one slice
SMOOTHED_PART = 20  # the running mean spans 1/20 of a curve


@dataclass(frozen=True)
class Panel:
    """One slice of a segmentation grid.

    Attributes:
        image: (H, W), any range.
        drawn: expert mask (H, W), bool or a number for every class; filled when it is alone, else its outline lies over
            the prediction.
        predicted: predicted mask (H, W), bool or a number for every class, filled.
        text: line below the slice.
        range: intensities shown as black and white; None: the 1st and 99.5th percentile of the slice.
    """

    image: np.ndarray
    drawn: np.ndarray | None = None
    predicted: np.ndarray | None = None
    text: str = ""
    range: tuple[float, float] | None = None


def save_figure(figure: Figure, path: Path, dpi: int = 110) -> None:
    """Write a PNG whole or not at all; parent folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    FigureCanvasAgg(figure)
    figure.savefig(partial, format="png", dpi=dpi)
    partial.replace(path)


def running_mean(values: Sequence[float], window: int) -> np.ndarray:
    """Mean of each value with its neighbours, (N,) float64; the window is cut off at both ends."""
    values = np.asarray(values, dtype=np.float64)
    reach = window // 2
    sums = np.concatenate([[0.0], np.cumsum(values)])
    index = np.arange(len(values))
    start, stop = np.maximum(index - reach, 0), np.minimum(index + reach + 1, len(values))
    return (sums[stop] - sums[start]) / (stop - start)


def loss_figure(panels: Mapping[str, Curves]) -> Figure:
    """Loss curves side by side: one panel per training, each value pale and the running mean strong.

    Args:
        panels: title -> {name of the loss: (steps, values)}.

    Raises:
        ValueError: there is nothing to draw.
    """
    if not any(len(steps) for curves in panels.values() for steps, _ in curves.values()):
        raise ValueError("no loss values to draw; train longer than print_interval, or name other runs")
    figure = Figure(figsize=(4.6 * len(panels), 3.4), layout="constrained")
    for axes, (title, curves) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        for number, (name, (steps, values)) in enumerate(curves.items()):
            colour = f"C{number}"
            window = max(1, len(values) // SMOOTHED_PART)
            axes.plot(steps, values, color=colour, alpha=0.25, linewidth=0.8)
            marker = "o" if len(values) == 1 else None  # a line of one point would not be seen
            axes.plot(steps, running_mean(values, window), color=colour, linewidth=1.6, label=name, marker=marker)
        axes.set_title(title, fontsize=11)
        axes.set_xlabel("step")
        axes.set_ylabel("loss")
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        if curves:
            axes.legend(frameon=False, fontsize=9)
    return figure


def segmentation_figure(titles: Sequence[str], rows: Mapping[str, Sequence[Panel]], caption: str = "") -> Figure:
    """Grid of slices: a row per organ, a column per title.

    Args:
        titles: column headings.
        rows: organ -> panels, one for each title.
        caption: line at the foot.

    Raises:
        ValueError: no rows, or a row whose panels do not match the titles.
    """
    if not rows:
        raise ValueError("no organ to draw; name a test run that has results")
    for organ, panels in rows.items():
        if len(panels) != len(titles):
            raise ValueError(f"row {organ} has {len(panels)} panels for {len(titles)} titles; give one for each")
    figure = Figure(figsize=(2.35 * len(titles) + 0.3, 2.6 * len(rows) + 0.65), layout="constrained")
    grid = figure.subplots(len(rows), len(titles), squeeze=False)
    for number, (organ, panels) in enumerate(rows.items()):
        for axes, panel, title in zip(grid[number], panels, titles, strict=True):
            draw_panel(axes, panel)
            if number == 0:
                axes.set_title(title, fontsize=11)
        grid[number][0].set_ylabel(organ, fontsize=12, fontweight="bold")
    if caption:
        figure.supxlabel(caption, fontsize=9, color="#444444")
    return figure


def draw_panel(axes: Axes, panel: Panel) -> None:
    """Draw a panel, its masks and its text on axes without ticks."""
    axes.imshow(rgb(panel), interpolation="bilinear")
    if panel.predicted is not None and panel.drawn is not None:
        for number, colour in _class_colours(panel.drawn, OUTLINE):
            own = panel.drawn == number
            if not own.all():
                axes.contour(own.astype(float), levels=[0.5], colors=[colour], linewidths=1.1)
    axes.set_xlabel(panel.text, fontsize=9, color="#444444")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)


def rgb(panel: Panel, strength: float = 0.5) -> np.ndarray:
    """The slice of a panel with its filled mask, (H, W, 3) float in [0, 1]."""
    low, high = np.percentile(panel.image, [1, 99.5]) if panel.range is None else panel.range
    grey = np.clip((panel.image.astype(np.float64) - low) / max(high - low, 1e-6), 0, 1)
    picture = np.repeat(grey[..., None], 3, axis=2)
    filled = panel.drawn if panel.predicted is None else panel.predicted
    if filled is not None:
        for number, colour in _class_colours(filled, MASK):
            own = filled == number
            picture[own] = (1 - strength) * picture[own] + strength * np.array(to_rgb(colour))
    return picture


def _class_colours(mask: np.ndarray, single: str) -> list[tuple[int, str]]:
    """(number, colour) of every class in a mask: `single` for a bool mask."""
    if mask.dtype == bool:
        return [(1, single)] if mask.any() else []
    numbers = [int(number) for number in np.unique(mask) if number]
    return [(number, CLASS_COLOURS[(number - 1) % len(CLASS_COLOURS)]) for number in numbers]
