"""The page's plain functions, called in node, against the same done by numpy, scipy and scikit-image."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt
from skimage.draw import polygon2mask
from skimage.segmentation import flood
from stage2.drawn import dice

STATIC = Path(__file__).resolve().parents[2] / "Stage2" / "serving" / "static"
NODE = shutil.which("node", path=str(Path(sys.executable).parent)) or shutil.which("node")
pytestmark = pytest.mark.skipif(NODE is None, reason="no node (requirements-dev.txt has it)")

WIDTH, HEIGHT = 14, 11
SCRIPT = """
import { colourTable, paintSection, sectionOf } from "MODULES/planes.js";
import { disc, line, polygon, region } from "MODULES/shapes.js";
import { between, fillBetween, outlineOf, signedDistances } from "MODULES/interpolation.js";
import { History } from "MODULES/history.js";
const given = JSON.parse(process.argv[1]);
const section = { width: given.width, height: given.height, origin: 0, right: 1, below: given.width };
const labels = Uint8Array.from(given.mask);
const grid = [given.width, given.height];
const [one, other] = [given.one, given.other].map((mask) => outlineOf(Uint8Array.from(mask), ...grid));
const upright = {  // axes exchanged and flipped: x of the file runs down, y to the left
  data: given.voxels, size: [4, 3, 2], shape: [3, 4, 2], spacing: [1, 1, 1],
  start: 9, step: [-3, 1, 12], slope: 2, intercept: 1,
};
const seen = sectionOf(upright, "axial", 1);
const pixels = new Uint32Array(seen.width * seen.height);
const named = [{ value: 1, name: "a", colour: "#ff0000" }];
paintSection(pixels, seen, upright, null, { low: 0, high: 51 }, colourTable(named, 1));
const stack = { size: [given.width, given.height, 5], step: [1, given.width, given.width * given.height], start: 0 };
const slices = new Uint8Array(given.width * given.height * 5);
slices.set(given.one);
slices.set(given.other, given.width * given.height * 4);
const history = new History(slices);
const filled = fillBetween(stack, slices, 1, 2, (place) => history.set(place, 1));
history.commit();
const full = [...slices];
const undone = history.undo() && [...slices];
const redone = history.redo() && [...slices];
const [corrected, throughout] = [new History(new Uint8Array(slices.length)), []];
const note = (did) => did && throughout.push(corrected.whole);
note(true);
note(corrected.replace(slices));
const copied = [...corrected.labels];
note(corrected.undo());
note(corrected.redo());
corrected.set(0, 7);
note(corrected.commit());
note(corrected.undo());
note(corrected.undo());
console.log(JSON.stringify({
  disc: disc(section, [5, 4], [3, 1.5]), line: line([1, 2], [6, 4]), polygon: polygon(section, given.corners),
  region: region(section, labels, given.seed), open: region(section, labels, [0, 0]),
  distances: [...signedDistances(Uint8Array.from(given.one), ...grid)],
  between: [...between(one, other, ...grid, 0.5)], start: [...between(one, other, ...grid, 0)],
  greys: [...pixels].map((pixel) => pixel & 255), seen, filled, full, undone, redone, throughout, copied,
}));
"""


def ellipse(centre: tuple[float, float], radius: float) -> np.ndarray:
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    return ((rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 <= radius**2).astype(np.uint8)


RING = ellipse((5, 6), 4.2) - ellipse((5, 6), 2.2)
ONE, OTHER = ellipse((4, 3), 2.2), ellipse((6, 9), 3.2)
CORNERS = [(2, 1), (11, 3), (8, 9), (3, 8)]
VOXELS = np.arange(24)


@pytest.fixture(scope="module")
def done() -> dict:
    given = {
        "width": WIDTH, "height": HEIGHT, "mask": RING.ravel().tolist(), "one": ONE.ravel().tolist(),
        "other": OTHER.ravel().tolist(), "corners": CORNERS, "seed": (6, 5), "voxels": VOXELS.tolist(),
    }  # fmt: skip
    script = SCRIPT.replace("MODULES", STATIC.as_uri())
    ran = subprocess.run(
        [NODE, "--input-type=module", "-e", script, json.dumps(given)], capture_output=True, text=True, timeout=30
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def mask_of(points: list[tuple[int, int]]) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    for column, row in points:
        mask[row, column] = 1
    return mask


def test_a_pen_is_round_in_mm_and_leaves_no_gaps(done):
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    assert (mask_of(done["disc"]) == (((columns - 5) / 3) ** 2 + ((rows - 4) / 1.5) ** 2 <= 1)).all()
    steps = np.abs(np.diff(done["line"], axis=0))
    assert done["line"][0] == [1, 2] and done["line"][-1] == [6, 4] and steps.max() == 1


def test_an_outline_is_filled(done):
    inside = polygon2mask((HEIGHT, WIDTH), [(row, column) for column, row in CORNERS])
    found = mask_of(done["polygon"])
    assert (found[inside] == 1).all() and dice(found == 1, inside) > 0.85  # the outline itself belongs to it


def test_a_region_is_what_an_outline_encloses(done):
    assert (mask_of(done["region"]) == flood(RING, (5, 6), connectivity=1)).all()
    assert done["open"] is None


def test_distances_are_those_of_scipy(done):
    wanted = distance_transform_edt(ONE) - distance_transform_edt(1 - ONE)
    assert np.allclose(done["distances"], wanted.ravel())


def test_between_two_slices_an_organ_is_half_way(done):
    assert done["start"] == ONE.ravel().tolist()
    assert dice(np.reshape(done["between"], (HEIGHT, WIDTH)) == 1, ellipse((5, 6), 2.7) == 1) > 0.85
    assert done["filled"] == 3
    full = np.reshape(done["full"], (5, HEIGHT, WIDTH))
    assert (full[0] == ONE).all() and (full[4] == OTHER).all() and (full[2].ravel() == done["between"]).all()
    assert done["undone"] == [*ONE.ravel(), *[0] * (3 * WIDTH * HEIGHT), *OTHER.ravel()]
    assert done["redone"] == done["full"]


def test_a_copied_mask_counts_as_drawn_throughout_until_it_is_taken_back(done):
    assert done["copied"] == done["full"]
    assert done["throughout"] == [False, True, False, True, True, True, False]


def test_a_slice_is_painted_upright_in_real_values(done):
    """Voxel (x, y, z) of the upright grid is y + 3 (3 - x) + 12 z of the file; columns and rows run against x and y."""
    x, y = np.meshgrid(np.arange(4)[::-1], np.arange(3)[::-1])
    wanted = (2 * VOXELS[y + 3 * (3 - x) + 12] + 1) / 51 * 255
    assert done["seen"]["width"] == 4 and done["seen"]["height"] == 3
    assert np.allclose(np.reshape(done["greys"], (3, 4)), np.floor(wanted), atol=1)
