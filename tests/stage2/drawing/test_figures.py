"""Figures are drawn, saved whole, and show what they were given."""

from pathlib import Path
from xml.etree import ElementTree

import matplotlib.image
import numpy as np
import pytest

from Stage2.drawing.figures import Panel, as_jpeg, as_svg, montage_figure, save_figure, segmentation_figure
from Stage2.io.text import one_line
from Stage2.reporting.charts import bar_figure


def test_nothing_to_draw_is_an_error():
    with pytest.raises(ValueError, match="no slice to draw"):
        montage_figure([], [])
    with pytest.raises(ValueError, match="no organ to draw"):
        segmentation_figure(["a"], {})
    with pytest.raises(ValueError, match="row RK has 1 panels for 2 titles"):
        segmentation_figure(["a", "b"], {"RK": [Panel(np.zeros((4, 4)))]})
    with pytest.raises(ValueError, match=r"a mask of \(2, 2\) pixels is no mask of a slice of \(4, 4\)"):
        Panel(np.zeros((4, 4)), drawn=np.zeros((2, 2), dtype=bool))


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


def numbered(number: int) -> Panel:
    """A grey slice: class 1 predicted on the top left, class 2 drawn on the bottom right."""
    predicted, drawn = np.zeros((16, 16), dtype=np.uint8), np.zeros((16, 16), dtype=np.uint8)
    predicted[:4, :4], drawn[10:, 10:] = 1, 2
    return Panel(np.full((16, 16), 0.5), drawn, predicted, f"slice {number}", window=(0.0, 1.0))


def test_a_sheet_has_all_slices_in_rows_of_six():
    figure = montage_figure([numbered(number) for number in range(8)], ["RK", "LK"], "scan 1")
    texts = ["".join(text.get_text() for text in axes.texts) for axes in figure.axes]
    assert texts == [f"slice {number}" for number in range(8)] + [""] * 4
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["RK", "LK", "drawn by an expert"]
    assert figure.axes[0].collections, "the outline of what was drawn"


@pytest.mark.parametrize("name", ["$", "$x^2", "$\\frac{1}$", "a\x00b\x1b", "\udcff", "<b>&", "é 肝"])
def test_names_are_drawn_as_they_are(tmp_path: Path, name: str):
    """None is a formula, whose errors would end the figure, and every SVG can be read."""
    empty = np.zeros((8, 8), dtype=bool)
    grid = segmentation_figure([name], {name: [Panel(np.ones((8, 8)), empty, empty, name)]}, name)
    sheet = montage_figure([Panel(np.ones((8, 8)), empty, empty, name)], [name], f"{name}\nb")
    bars = bar_figure([name], {name: {name: [0.5]}}, {name: 0.5}, name)
    for figure in (grid, sheet, bars):
        save_figure(figure, tmp_path / "grid.png", dpi=40)
        assert as_jpeg(figure, dpi=40).startswith(b"\xff\xd8")
        svg = ElementTree.fromstring(as_svg(figure))
        shown = [element.text for element in svg.iter("{http://www.w3.org/2000/svg}text")]
        assert one_line(name) in [text for text in shown if text]


def test_a_figure_that_cannot_be_written_is_one_sentence(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"x\.png could not be written"):
        save_figure(segmentation_figure(["t"], {"RK": [Panel(np.ones((8, 8)))]}), tmp_path / "file" / "x.png")
