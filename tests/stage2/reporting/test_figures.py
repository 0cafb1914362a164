"""Figures are drawn, saved whole, and show what they were given."""

from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

from Stage2.reporting.figures import Panel, loss_figure, running_mean, save_figure, segmentation_figure


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
    figure = loss_figure({"Stage 1": {"loss": ([10], [0.5])}, "Stage 2": curves})
    assert [axes.get_title() for axes in figure.axes] == ["Stage 1", "Stage 2"]
    legend = [text.get_text() for text in figure.axes[1].get_legend().get_texts()]
    assert legend == ["query loss", "align loss"]
    assert figure.axes[0].lines[1].get_marker() == "o", "a single value must be visible"
    np.testing.assert_array_equal(figure.axes[1].lines[0].get_ydata(), [3, 2, 1])
    save_figure(figure, tmp_path / "new" / "losses.png", dpi=50)
    assert matplotlib.image.imread(tmp_path / "new" / "losses.png").shape[:2] == (170, 460)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["losses.png"]


def test_nothing_to_draw_is_an_error():
    with pytest.raises(ValueError, match="no loss values"):
        loss_figure({"Stage 2": {"loss": ([], [])}})
    with pytest.raises(ValueError, match="no organ to draw"):
        segmentation_figure(["a"], {})
    with pytest.raises(ValueError, match="row RK has 1 panels for 2 titles"):
        segmentation_figure(["a", "b"], {"RK": [Panel(np.zeros((4, 4)))]})


def test_masks_are_painted_where_they_are(tmp_path: Path):
    """The panel with a mask on its left half differs from the bare one there, and only there."""
    image = np.random.default_rng(1).normal(size=(32, 32))
    mask = np.zeros((32, 32), dtype=bool)
    mask[:, :16] = True

    def pixels(panel: Panel) -> np.ndarray:
        save_figure(segmentation_figure(["t"], {"RK": [panel]}), tmp_path / "grid.png", dpi=60)
        return matplotlib.image.imread(tmp_path / "grid.png")

    bare = pixels(Panel(image))
    for painted in (pixels(Panel(image, predicted=mask)), pixels(Panel(image, drawn=mask))):
        changed = np.abs(painted - bare).max(axis=(0, 2)) > 0.02
        assert changed.any()
        columns = np.flatnonzero(changed)
        assert columns.max() < 0.65 * bare.shape[1]
        assert len(columns) > 0.25 * bare.shape[1]


def test_the_grid_has_organs_as_rows_and_texts_below(tmp_path: Path):
    empty = Panel(np.zeros((8, 8)), drawn=np.zeros((8, 8), dtype=bool), text="slice 3")
    full = Panel(np.ones((8, 8)), drawn=np.ones((8, 8), dtype=bool), predicted=np.ones((8, 8), dtype=bool))
    figure = segmentation_figure(["support", "truth"], {"RK": [empty, full], "LK": [full, empty]}, "best scans")
    assert [axes.get_title() for axes in figure.axes] == ["support", "truth", "", ""]
    assert [axes.get_ylabel() for axes in figure.axes] == ["RK", "", "LK", ""]
    assert figure.axes[3].get_xlabel() == "slice 3"
    save_figure(figure, tmp_path / "grid.png", dpi=40)
    assert (tmp_path / "grid.png").stat().st_size > 1000
