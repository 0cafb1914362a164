"""Masks are painted and outlined where they are."""

import cv2
import numpy as np
import pytest

from Stage2.drawing.masks import as_bytes, colour_of, coloured, encoded, grey, outline, overlay, write_png


def test_grey_runs_from_the_lowest_to_the_highest_percent():
    image = np.arange(1001.0)
    shown = grey(image)
    assert (shown[:11] == 0).all() and (shown[-5:] == 1).all() and shown[500] == pytest.approx((500 - 10) / 985)
    np.testing.assert_array_equal(grey(np.full(4, 7)), 0)
    np.testing.assert_array_equal(coloured(np.array([[0, 255]]), (0, 255))[0], [[0] * 3, [1] * 3])


def test_colours_repeat_after_seven():
    assert colour_of(8) == colour_of(1) != colour_of(2)


def test_outline_and_overlay():
    mask = np.zeros((6, 7), dtype=bool)
    mask[1:5, 0:4] = True
    edge = outline(mask)
    inner = np.zeros_like(mask)
    inner[2:4, 1:3] = True
    np.testing.assert_array_equal(edge, mask & ~inner)
    layer = overlay(mask, "#ff8000")
    assert layer[3, 2].tolist() == [255, 128, 0, 115]
    assert layer[1, 1].tolist() == [255, 128, 0, 255]
    assert not layer[~mask].any()


@pytest.mark.parametrize("shape", [(20, 30), (20, 30, 3), (20, 30, 4)])
def test_a_picture_is_written_whole(tmp_path, shape):
    picture = as_bytes(np.random.default_rng(0).random(shape))
    write_png(tmp_path / "new" / "a.png", picture)
    read = cv2.imread(str(tmp_path / "new" / "a.png"), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(read if read.ndim == 2 else read[..., [2, 1, 0, 3][: shape[2]]], picture)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.png"]
    assert encoded(picture, ".png").startswith(b"\x89PNG")
