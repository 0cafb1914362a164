"""A montage: the slices of a scan that matter, with the mask over them, as one PNG."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from Stage2.inference.pictures import TRUTH_COLOUR, Pictures, colour_of, overlay

COLUMNS, MOST_SLICES = 5, 20


def slices_to_show(labels: np.ndarray, most: int = MOST_SLICES) -> list[int]:
    """Slices with any label and one beyond on either side, evenly thinned to `most`; of an empty mask, all slices."""
    shown = np.flatnonzero(labels.any(axis=(1, 2)))
    first, last = (max(shown[0] - 1, 0), min(shown[-1] + 1, len(labels) - 1)) if len(shown) else (0, len(labels) - 1)
    count = min(most, last - first + 1)
    return np.unique(np.rint(np.linspace(first, last, count)).astype(int)).tolist()


def montage_figure(pictures: Pictures, names: Mapping[int, str], title: str) -> Figure:
    """Slices from the feet up, row by row, with filled masks and, where there is a ground truth, its white outline.

    Args:
        pictures: of the scan.
        names: label -> name, in the order of the colours.
        title: lines on top.
    """
    seen = [labels for labels in (pictures.labels, pictures.truth) if labels is not None]
    chosen = slices_to_show(np.any([np.isin(labels, list(names)) for labels in seen], axis=0))
    columns = min(COLUMNS, len(chosen))
    rows = -(-len(chosen) // columns)
    height, width = pictures.grey.shape[1:]
    figure = Figure(
        figsize=(max(2.1 * columns, 4.5), 2.1 * rows * height / width + 0.6 + 0.2 * title.count("\n")),
        layout="constrained",
        facecolor="black",
    )
    for place, axes in enumerate(figure.subplots(rows, columns, squeeze=False).flat):
        axes.set_axis_off()
        if place >= len(chosen):
            continue
        z = chosen[place]
        axes.imshow(pictures.grey[z], cmap="gray", vmin=0, vmax=255, interpolation="bilinear")
        for label in names:
            axes.imshow(overlay(pictures.labels[z] == label, colour_of(list(names), label)), interpolation="nearest")
            truth = None if pictures.truth is None else pictures.truth[z] == label
            if truth is not None and truth.any() and not truth.all():
                axes.contour(truth.astype(float), levels=[0.5], colors=[TRUTH_COLOUR], linewidths=0.8)
        axes.text(0.02, 0.97, f"{z + 1}", transform=axes.transAxes, color="white", fontsize=8, va="top")
    figure.suptitle(title, color="white", fontsize=10)
    handles = [Patch(color=colour_of(list(names), label), label=name) for label, name in names.items()]
    if pictures.truth is not None:
        handles.append(Line2D([], [], color=TRUTH_COLOUR, linewidth=0.8, label="drawn by an expert"))
    figure.legend(
        handles=handles, loc="outside lower center", ncols=len(handles), frameon=False, fontsize=9, labelcolor="white"
    )
    return figure
