"""Charts: bars of scores per organ, curves of trainings."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from Stage2.drawing.figures import MUTED
from Stage2.io.text import one_line
from Stage2.reporting.curves import Curves

WIDEST = 11.5  # inches
SERIES_PER_CHART = 10  # bars of one organ that can still be told apart
SMOOTHED_PART = 20  # the running mean spans 1/20 of a curve


def bar_figure(
    groups: Sequence[str], series: Mapping[str, Mapping[str, Sequence[float]]], references: Mapping[str, float],
    last: str, heading: str = "Dice",
) -> Figure:  # fmt: skip
    """Bars of the mean over folds, with the standard deviation as a line and every fold as a dot.

    Args:
        groups: along the x axis: organs, and their mean.
        series: name of an experiment -> group -> value of every fold; a group may be absent.
        references: name -> value of a dashed line across the group `last`, such as a published mean.
        last: the group that references belong to.
        heading: of the values.

    Raises:
        ValueError: there is nothing to draw.
    """
    if not any(len(values) for one in series.values() for values in one.values()):
        raise ValueError("no scores to draw; test an experiment first")
    width = min(max(5.0, 1.6 + len(groups) * (0.55 + 0.28 * len(series))), WIDEST)
    figure = Figure(figsize=(width, 2.7 + 0.17 * (len(series) + len(references))), layout="constrained")
    axes = figure.subplots()
    bar_width = min(0.8 / len(series), 0.3)
    colours = colormaps["tab10"].colors
    for number, (name, of_group) in enumerate(series.items()):
        label = name
        for place, group in enumerate(groups):
            values = pd.Series(of_group.get(group, ()), dtype=float).dropna()
            if values.empty:
                continue
            x = place + (number - (len(series) - 1) / 2) * bar_width
            spread = values.std() if len(values) > 1 else None
            axes.bar(x, values.mean(), 0.92 * bar_width, yerr=spread, color=colours[number % len(colours)], alpha=0.75,
                     capsize=2, label=label, error_kw={"elinewidth": 1, "ecolor": "#333333"})  # fmt: skip
            axes.plot([x] * len(values), values, ".", color="#222222", markersize=3, alpha=0.7)
            label = None
    place = groups.index(last) if references else 0
    for number, (name, value) in enumerate(references.items()):
        style = {"color": MUTED, "linestyle": ("--", ":", "-.")[number % 3], "linewidth": 1.3}
        axes.plot([place - 0.48, place + 0.48], [value, value], label=f"{name} {value:.3f}", **style)
    axes.set_xticks(range(len(groups)), map(one_line, groups))
    axes.set(xlim=(-0.6, len(groups) - 0.4), ylim=(0, 1), ylabel=heading)
    _tidy(axes)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower left", frameon=False, fontsize=8, ncols=1)
    return figure


def curve_figure(panels: Mapping[str, Curves], size: tuple[float, float] = (3.9, 2.9)) -> Figure:
    """Curves side by side: in every panel a line for every name, each value pale and the running mean strong.

    Args:
        panels: title -> {name: (steps, values)}; a value may be None.
        size: of a panel, in inches.

    Raises:
        ValueError: there is nothing to draw.
    """
    if not any(len(steps) for curves in panels.values() for steps, _ in curves.values()):
        raise ValueError("no curves to draw; train longer than print_interval, or name other runs")
    figure = Figure(figsize=(size[0] * len(panels), size[1]), layout="constrained")
    for axes, (title, curves) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        for number, (name, (steps, values)) in enumerate(curves.items()):
            values = np.asarray(values, dtype=np.float64)  # None becomes NaN
            few = len(values) <= SMOOTHED_PART
            if not few:
                axes.plot(steps, values, color=f"C{number}", alpha=0.2, linewidth=0.6)
            smooth = running_mean(values, 1 if few else len(values) // SMOOTHED_PART)
            axes.plot(steps, smooth, color=f"C{number}", linewidth=1.3, label=name, marker="." if few else None)
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("step")
        _tidy(axes)
        if curves:
            axes.legend(frameon=False, fontsize=8)
    return figure


def running_mean(values: Sequence[float], window: int) -> np.ndarray:
    """Mean of each value with its neighbours, (N,) float64; the window is cut off at both ends, NaN left out."""
    reach = window // 2
    return pd.Series(values, dtype=float).rolling(2 * reach + 1, center=True, min_periods=1).mean().to_numpy()


def _tidy(axes: Axes) -> None:
    axes.grid(axis="y", alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
