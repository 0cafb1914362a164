"""Contact sheets show every slice with its contours and borders where they belong."""

import numpy as np

from Stage2.drawing.masks import borders, outline, rgb
from Stage2.preparation.check.contact_sheet import (
    COLUMNS,
    GAP,
    MAX_SLICES,
    TITLE_HEIGHT,
    class_colours,
    draw_contact_sheet,
)

CLASSES = {"BG": 0, "A": 1, "B": 7}


def tile(sheet: np.ndarray, place: int, side: int) -> np.ndarray:
    row, column = divmod(place, COLUMNS)
    top, left = TITLE_HEIGHT + row * (side + GAP), column * (side + GAP)
    return sheet[top : top + side, left : left + side]


def test_contours_lie_on_the_edge_of_every_class_in_every_slice():
    rng = np.random.default_rng(0)
    image, label = rng.random((8, 64, 64)) * 500, np.zeros((8, 64, 64), np.uint8)
    label[1, 5:20, 5:30] = 1
    label[7, 40:50, 20:60] = 7
    sheet = draw_contact_sheet(image, label, None, CLASSES, "a title")
    colours = class_colours(CLASSES)
    assert list(colours) == ["A", "B"]
    for z in range(8):
        for name, colour in colours.items():
            drawn = (tile(sheet, z, 64) == rgb(colour)).all(axis=2)
            assert np.array_equal(drawn, outline(label[z] == CLASSES[name])), (z, name)


def test_superpixels_change_the_picture_only_at_their_borders():
    image = np.full((1, 64, 64), 300.0)
    image[0, 0] = np.linspace(0, 400, 64)
    superpixels = np.zeros((1, 64, 64), np.int32)
    superpixels[0, 10:30, 10:30] = 1
    superpixels[0, 10:30, 30:40] = 2
    without = draw_contact_sheet(image, None, None, CLASSES, "")
    with_borders = draw_contact_sheet(image, None, superpixels, CLASSES, "")
    changed = (tile(without, 0, 64) != tile(with_borders, 0, 64)).any(axis=2)
    expected = np.zeros((64, 64), bool)
    expected[10:30, 29] = expected[10:30, 39] = expected[29, 10:40] = True
    assert np.array_equal(changed, expected)
    assert np.array_equal(borders(superpixels[0]), expected)


def test_supervoxels_have_borders_of_their_own_colour():
    image = np.full((1, 64, 64), 300.0)
    image[0, 0] = np.linspace(0, 400, 64)
    segments = np.zeros((1, 64, 64), np.int32)
    segments[0, 10:30, 10:30] = 1
    as_superpixels = draw_contact_sheet(image, None, segments, CLASSES, "")
    as_supervoxels = draw_contact_sheet(image, None, None, CLASSES, "", segments)
    differing = (tile(as_superpixels, 0, 64) != tile(as_supervoxels, 0, 64)).any(axis=2)
    assert np.array_equal(differing, borders(segments[0]))


def test_a_long_scan_is_shown_in_part_and_a_constant_one_is_no_error():
    sheet = draw_contact_sheet(np.zeros((200, 32, 32)), None, None, CLASSES, "")
    assert sheet.shape == (TITLE_HEIGHT + MAX_SLICES // COLUMNS * (32 + GAP), COLUMNS * (32 + GAP) - GAP, 3)
