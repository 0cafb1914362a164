"""Charts show the numbers that they were given."""

import numpy as np
import pytest

from Stage2.reporting.charts import Series, bar_figure, training_figure


def test_bars_have_the_mean_the_spread_and_every_fold():
    series = [Series("a", {"RK": [0.2, 0.4], "mean": [0.3]}), Series("b", {"RK": [0.5]})]
    axes = bar_figure(["RK", "mean"], series, {"DenseMP": 0.8}, "mean").axes[0]
    assert [round(bar.get_height(), 6) for bar in axes.patches] == [0.3, 0.3, 0.5]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["RK", "mean"]
    folds = [line.get_ydata() for line in axes.lines if line.get_linestyle() == "None" and line.get_marker() == "."]
    assert [list(values) for values in folds] == [[0.2, 0.4], [0.3], [0.5]]
    (published,) = (line for line in axes.lines if line.get_label() == "DenseMP 0.800")
    assert list(published.get_ydata()) == [0.8, 0.8]
    assert np.mean(published.get_xdata()) == 1  # over the mean, which is what was published
    assert axes.get_legend_handles_labels()[1].count("a") == 1


def test_a_training_has_a_panel_per_kind_and_a_line_per_fold():
    runs = {
        "fold 0": {"query loss": {"q": ([1, 2], [3.0, 2.0])}, "Dice": {"d": ([2], [None])}},
        "fold 1": {"query loss": {"q": (list(range(100)), [1.0] * 100)}},
    }
    figure = training_figure(runs)
    assert [axes.get_title() for axes in figure.axes] == ["query loss", "Dice"]
    labels = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert labels == ["fold 0", "fold 1"]
    assert list(figure.axes[0].lines[0].get_ydata()) == [3, 2]


def test_nothing_to_draw_is_an_error():
    with pytest.raises(ValueError, match="no scores to draw"):
        bar_figure(["RK"], [Series("a", {"RK": []})], {}, "RK")
    with pytest.raises(ValueError, match="no curves to draw"):
        training_figure({"fold 0": {}})
