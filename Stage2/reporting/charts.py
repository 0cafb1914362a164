"""Charts of results: bars of scores per organ, curves of the trainings of an experiment."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from Stage2.reporting.figures import SMOOTHED_PART, Curves, running_mean
from Stage2.reporting.statistics import spread

WIDEST = 11.5  # inches
SERIES_PER_CHART = 10  # bars of one organ that can still be told apart


@dataclass(frozen=True)
class Series:
    """Bars of one experiment.

    Attributes:
        name: in the legend.
        values: group (organ, or the mean) -> value of every fold; a group may be absent.
    """

    name: str
    values: Mapping[str, Sequence[float]]


def bar_figure(groups: Sequence[str], series: Sequence[Series], references: Mapping[str, float], last: str) -> Figure:
    """Bars of the mean over folds, with the standard deviation as a line and every fold as a dot.

    Args:
        groups: along the x axis.
        series: bars in every group.
        references: name -> value of a dashed line across the group `last`, such as a published mean.
        last: the group that references belong to.

    Raises:
        ValueError: there is nothing to draw.
    """
    if not any(len(values) for one in series for values in one.values.values()):
        raise ValueError("no scores to draw; test an experiment first")
    width = min(max(5.0, 1.6 + len(groups) * (0.55 + 0.28 * len(series))), WIDEST)
    figure = Figure(figsize=(width, 2.7 + 0.17 * (len(series) + len(references))), layout="constrained")
    axes = figure.subplots()
    bar_width = min(0.8 / len(series), 0.3)
    colours = colormaps["tab10"].colors
    for number, one in enumerate(series):
        colour, label = colours[number % len(colours)], one.name
        for place, group in enumerate(groups):
            over = spread(one.values.get(group, ()))
            if over.mean is None:
                continue
            x = place + (number - (len(series) - 1) / 2) * bar_width
            axes.bar(x, over.mean, 0.92 * bar_width, yerr=over.sd, color=colour, alpha=0.75, capsize=2, label=label,
                     error_kw={"elinewidth": 1, "ecolor": "#333333"})  # fmt: skip
            points = [value for value in one.values[group] if value is not None]
            axes.plot([x] * len(points), points, ".", color="#222222", markersize=3, alpha=0.7)
            label = None
    for number, (name, value) in enumerate(references.items()):
        place = groups.index(last)
        style = {"color": "#444444", "linestyle": ("--", ":", "-.")[number % 3], "linewidth": 1.3}
        axes.plot([place - 0.48, place + 0.48], [value, value], label=f"{name} {value:.3f}", **style)
    axes.set_xticks(range(len(groups)), groups)
    axes.set_xlim(-0.6, len(groups) - 0.4)
    axes.set_ylim(0, 1)
    axes.set_ylabel("Dice")
    _tidy(axes)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower left", frameon=False, fontsize=8, ncols=1)
    return figure


def training_figure(runs: Mapping[str, Mapping[str, Curves]]) -> Figure:
    """Curves of the trainings of one experiment: a panel for every kind, a line for every run.

    Args:
        runs: name of a run (its fold) -> kind, such as "query loss" -> {name: (steps, values)}; every kind of every run
            holds one curve, or several that share the run's colour.

    Raises:
        ValueError: there is nothing to draw.
    """
    kinds = list(dict.fromkeys(kind for of_run in runs.values() for kind in of_run))
    if not kinds:
        raise ValueError("no curves to draw; train longer than print_interval")
    figure = Figure(figsize=(3.9 * len(kinds), 2.9), layout="constrained")
    for axes, kind in zip(figure.subplots(1, len(kinds), squeeze=False)[0], kinds, strict=True):
        for number, (name, of_run) in enumerate(runs.items()):
            for steps, values in of_run.get(kind, {}).values():
                _draw_curve(axes, steps, values, f"C{number}", name)
        axes.set_title(kind, fontsize=10)
        axes.set_xlabel("step")
        _tidy(axes)
    figure.axes[0].legend(frameon=False, fontsize=8)
    return figure


def _draw_curve(axes: Axes, steps: Sequence[float], values: Sequence[float], colour: str, name: str) -> None:
    values = np.asarray([np.nan if value is None else value for value in values], dtype=np.float64)
    few = len(values) <= SMOOTHED_PART
    if not few:
        axes.plot(steps, values, color=colour, alpha=0.2, linewidth=0.6)
    smooth = values if few else running_mean(values, len(values) // SMOOTHED_PART)
    axes.plot(steps, smooth, color=colour, linewidth=1.3, label=name, marker="." if few else None)


def _tidy(axes: Axes) -> None:
    axes.grid(axis="y", alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
