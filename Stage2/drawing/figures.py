"""Figures as files and as pictures in pages; grids and sheets of segmented slices."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.text import Text

from Stage1.files import whole_file
from Stage2.drawing.masks import COLOURS, EXPERT, MASK, colour_of, coloured, encoded, outline, paint
from Stage2.io.text import one_line

OUTLINE = "#00e5d0"  # of what an expert drew, over the yellow prediction of the only class
MUTED = "#444444"
COLUMNS = 6  # of a sheet
# Names may hold a $, which is no formula; text stays text in an SVG.
PLAIN_TEXT = {"text.parse_math": False, "text.usetex": False, "svg.fonttype": "none"}


@dataclass(frozen=True)
class Panel:
    """One slice of a grid, sheet or film.

    Attributes:
        image: (H, W), any range.
        drawn: expert mask (H, W), bool or a number for every class; filled when it is alone, else its outline lies over
            the prediction.
        predicted: predicted mask (H, W), bool or a number for every class, filled.
        text: line below the slice.
        window: intensities shown as black and white; None: the 1st and 99.5th percentile of the slice.
    """

    image: np.ndarray
    drawn: np.ndarray | None = None
    predicted: np.ndarray | None = None
    text: str = ""
    window: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        for mask in (self.drawn, self.predicted):
            if mask is not None and mask.shape != self.image.shape:
                raise ValueError(f"a mask of {mask.shape} pixels is no mask of a slice of {self.image.shape}")

    @property
    def outlined(self) -> np.ndarray | None:
        """The mask whose outlines lie over the prediction."""
        return None if self.predicted is None else self.drawn

    def painted(self) -> np.ndarray:
        """The slice with its filled mask, (H, W, 3) float in [0, 1]; masks of several classes have opaque edges."""
        picture = coloured(self.image, self.window)
        filled = self.drawn if self.predicted is None else self.predicted
        for own, number in masks_in(filled):
            paint(picture, own, MASK if filled.dtype == bool else colour_of(number))
            if filled.dtype != bool:
                paint(picture, outline(own), colour_of(number), strength=1)
        return picture


def masks_in(mask: np.ndarray | None) -> list[tuple[np.ndarray, int]]:
    """(mask (H, W) bool, number) of every class in a mask that is bool or holds numbers."""
    return [] if mask is None else [(mask == number, int(number)) for number in np.unique(mask) if number]


def expert_colour(mask: np.ndarray) -> str:
    """Colour of an expert's outlines over a prediction of one class (bool) or several (numbers)."""
    return OUTLINE if mask.dtype == bool else EXPERT


def save_figure(figure: Figure, path: Path, dpi: int = 110) -> None:
    """Write a PNG whole or not at all; its folder is made. Raises OSError as `whole_file`."""
    with whole_file(path) as temporary, _plain_text(figure):
        FigureCanvasAgg(figure)
        figure.savefig(temporary, format="png", dpi=dpi)


def as_svg(figure: Figure) -> bytes:
    """An SVG file of a drawing of lines and text."""
    stream = io.BytesIO()
    with _plain_text(figure):
        FigureCanvasSVG(figure).print_svg(stream, metadata={"Date": None})
    return stream.getvalue()


def as_jpeg(figure: Figure, dpi: int = 90) -> bytes:
    """A JPEG file of a figure of slices: their noise is many times larger as PNG."""
    canvas = FigureCanvasAgg(figure)
    figure.set_dpi(dpi)
    with _plain_text(figure):
        canvas.draw()
    return encoded(np.asarray(canvas.buffer_rgba())[..., :3], ".jpg")


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
    for axes, title in zip(grid[0], titles, strict=True):
        axes.set_title(title, fontsize=11)
    for line, (organ, panels) in zip(grid, rows.items(), strict=True):
        for axes, panel in zip(line, panels, strict=True):
            draw_panel(axes, panel)
            axes.set_xlabel(panel.text, fontsize=9, color=MUTED)
        line[0].set_ylabel(organ, fontsize=12, fontweight="bold")
    figure.supxlabel(caption, fontsize=9, color=MUTED)
    return figure


def montage_figure(panels: Sequence[Panel], classes: Sequence[str], title: str = "") -> Figure:
    """Slices of a scan on one black sheet, in reading order, with a legend of the classes.

    Args:
        panels: of the slices.
        classes: names of the class numbers 1, 2, ... in the panels' masks.
        title: lines on top.

    Raises:
        ValueError: no panels.
    """
    if not panels:
        raise ValueError("no slice to draw; choose a scan that shows the organ")
    columns = min(COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    height, width = panels[0].image.shape
    size = (max(2.0 * columns, 4.5), 2.0 * rows * height / width + 0.6 + 0.2 * title.count("\n"))
    figure = Figure(figsize=size, layout="constrained", facecolor="black")
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid:
        axes.set_axis_off()
    for axes, panel in zip(grid, panels, strict=False):
        draw_panel(axes, panel)
        axes.text(0.02, 0.97, panel.text, transform=axes.transAxes, color="white", fontsize=8, va="top")
    figure.suptitle(title, color="white", fontsize=10)
    handles = [Patch(color=colour_of(number), label=name) for number, name in enumerate(classes, start=1)]
    if any(panel.outlined is not None for panel in panels):
        handles.append(Line2D([], [], color=EXPERT, linewidth=0.8, label="drawn by an expert"))
    style = {"frameon": False, "fontsize": 9, "labelcolor": "white"}
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), len(COLOURS)), **style)
    return figure


def draw_panel(axes: Axes, panel: Panel) -> None:
    """Draw a panel and its masks on axes without ticks."""
    axes.imshow(panel.painted(), interpolation="bilinear")
    for own, _ in masks_in(panel.outlined):
        draw_contour(axes, own, expert_colour(panel.drawn))
    bare(axes)


def draw_contour(axes: Axes, mask: np.ndarray, colour: str) -> None:
    """The outline of a mask (H, W) bool as a line."""
    if mask.any() and not mask.all():
        axes.contour(mask.astype(float), levels=[0.5], colors=[colour], linewidths=1)


def bare(axes: Axes) -> None:
    """Take ticks and frame from axes of a picture."""
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def _plain_text(figure: Figure):
    """A context in which the figure draws its texts as they are: one_line, and none of them as a formula."""
    for text in figure.findobj(Text):
        text.set_parse_math(False)
        text.set_text("\n".join(map(one_line, text.get_text().split("\n"))))
    return rc_context(PLAIN_TEXT)
