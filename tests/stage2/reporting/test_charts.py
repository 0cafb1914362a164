"""Charts show the numbers that they were given."""

from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

from Stage2.drawing.figures import save_figure
from Stage2.reporting.charts import bar_figure, curve_figure, running_mean


def test_bars_have_the_mean_the_spread_and_every_fold():
    series = {"a": {"RK": [0.2, 0.4], "mean": [0.3]}, "b": {"RK": [0.5]}}
    axes = bar_figure(["RK", "mean"], series, {"DenseMP": 0.8}, "mean").axes[0]
    assert [round(bar.get_height(), 6) for bar in axes.patches] == [0.3, 0.3, 0.5]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["RK", "mean"]
    folds = [line.get_ydata() for line in axes.lines if line.get_linestyle() == "None" and line.get_marker() == "."]
    assert [list(values) for values in folds] == [[0.2, 0.4], [0.3], [0.5]]
    (published,) = (line for line in axes.lines if line.get_label() == "DenseMP 0.800")
    assert list(published.get_ydata()) == [0.8, 0.8]
    assert np.mean(published.get_xdata()) == 1  # over the mean, which is what was published
    assert axes.get_legend_handles_labels()[1].count("a") == 1


def test_the_running_mean_equals_a_plain_loop():
    values = np.random.default_rng(0).normal(size=23)
    for window in (1, 4, 7, 60):
        slow = []
        for index in range(len(values)):
            near = [values[other] for other in range(len(values)) if abs(other - index) <= window // 2]
            slow.append(sum(near) / len(near))
        np.testing.assert_allclose(running_mean(values, window), slow)


def test_a_loss_figure_has_a_panel_per_training_and_a_line_per_loss(tmp_path: Path):
    curves = {"query loss": ([1, 2, 3], [3.0, 2.0, 1.0]), "align loss": ([1, 2, 3], [1.0, 1.0, 1.0])}
    figure = curve_figure({"Stage 1": {"loss": ([10], [0.5])}, "Stage 2": curves})
    assert [axes.get_title() for axes in figure.axes] == ["Stage 1", "Stage 2"]
    legend = [text.get_text() for text in figure.axes[1].get_legend().get_texts()]
    assert legend == ["query loss", "align loss"]
    assert figure.axes[0].lines[0].get_marker() == ".", "a single value must be visible"
    np.testing.assert_array_equal(figure.axes[1].lines[0].get_ydata(), [3, 2, 1])
    long = curve_figure({"long": {"loss": (range(100), [None, *[1.0] * 99])}})
    assert len(long.axes[0].lines) == 2, "pale and strong"
    save_figure(figure, tmp_path / "new" / "losses.png", dpi=50)
    assert matplotlib.image.imread(tmp_path / "new" / "losses.png").shape[:2] == (145, 390)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["losses.png"]


def test_nothing_to_draw_is_an_error():
    with pytest.raises(ValueError, match="no scores to draw"):
        bar_figure(["RK"], {"a": {"RK": []}}, {}, "RK")
    with pytest.raises(ValueError, match="no curves to draw"):
        curve_figure({"query loss": {"fold 0": ([], [])}})
