"""Films show every slice, and its masks where they are."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from Stage2.drawing.figures import Panel
from Stage2.drawing.masks import EXPERT, colour_of
from Stage2.reporting.films import save_gif, superpixel_figure


def panel(number: int) -> Panel:
    """A grey slice: class 1 predicted on the top left, class 2 drawn on the bottom right."""
    predicted, drawn = np.zeros((16, 16), dtype=np.uint8), np.zeros((16, 16), dtype=np.uint8)
    predicted[:4, :4], drawn[10:, 10:] = 1, 2
    return Panel(np.full((16, 16), 0.5), drawn, predicted, f"slice {number}", window=(0.0, 1.0))


def test_a_film_has_a_frame_per_slice_with_filled_predictions_and_drawn_edges(tmp_path: Path):
    save_gif([panel(0), Panel(np.zeros((16, 16)), window=(0.0, 1.0)), panel(2)], tmp_path / "new" / "film.gif", scale=3)
    film = Image.open(tmp_path / "new" / "film.gif")
    assert (film.n_frames, film.size) == (3, (48, 48))
    film.seek(2)
    picture = np.asarray(film.convert("RGB")).astype(int)

    def near(place: tuple[int, int], colour: str, share: float) -> bool:
        wanted = [round((1 - share) * 128 + share * int(colour[s : s + 2], 16)) for s in (1, 3, 5)]
        return bool(np.abs(picture[place] - wanted).max() < 16)

    assert near((5, 5), colour_of(1), 0.5)
    assert near((11, 1), colour_of(1), 1.0)  # the edge of what was predicted
    assert near((30, 40), EXPERT, 1.0)  # the edge of what was drawn
    assert near((40, 40), "#808080", 1.0)  # not its inside
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["film.gif"]


def test_superpixels_are_counted_and_organs_outlined_where_there_are_labels():
    superpixels = np.zeros((16, 16), dtype=np.int32)
    superpixels[:8, :8], superpixels[8:, 8:] = 1, 7
    label = np.zeros((16, 16), dtype=np.uint8)
    label[4:9, 4:9] = 2
    figure = superpixel_figure({"slice 3": (np.ones((16, 16)), superpixels, label)})
    assert [axes.get_title() for axes in figure.axes] == ["slice", "superpixels", "organs on superpixels"]
    assert figure.axes[1].get_xlabel() == "2 superpixels"
    assert figure.axes[2].collections
    assert len(superpixel_figure({"slice 3": (np.ones((16, 16)), superpixels, None)}).axes) == 2


def test_nothing_to_draw_is_an_error(tmp_path: Path):
    with pytest.raises(ValueError, match="no slice to draw"):
        save_gif([], tmp_path / "film.gif")
