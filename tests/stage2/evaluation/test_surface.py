"""Surface distances against plain loops over voxel pairs."""

import math

import numpy as np
import pytest

from Stage2.evaluation.surface import surface_distances, surface_voxels


def plain_surface(mask):
    places = {tuple(place) for place in np.argwhere(mask)}
    steps = [(1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1)]
    return sorted(p for p in places if any(tuple(np.add(p, step)) not in places for step in steps))


def plain_distances(first, second, spacing):
    surfaces = [plain_surface(first), plain_surface(second)]
    directed = []
    for own, other in (surfaces, surfaces[::-1]):
        directed.append([min(math.dist(np.multiply(a, spacing), np.multiply(b, spacing)) for b in other) for a in own])
    everything = directed[0] + directed[1]
    return max(np.percentile(distances, 95) for distances in directed), sum(everything) / len(everything)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("spacing", [(1, 1, 1), (7.7, 1.25, 0.9)])
@pytest.mark.parametrize("shape", [(1, 1, 7), (4, 6, 5), (5, 5, 5)])
def test_distances_equal_the_plain_loop(seed, spacing, shape):
    rng = np.random.default_rng(seed)
    first, second = (rng.random(shape) < density for density in (0.6, 0.2))
    first.flat[0] = second.flat[-1] = True
    found = surface_distances(first, second, spacing)
    assert found == pytest.approx(plain_distances(first, second, spacing))
    exchanged = surface_distances(second, first, spacing)
    assert exchanged == pytest.approx(found)
    assert sorted(map(tuple, np.argwhere(surface_voxels(first)))) == plain_surface(first)


def test_two_voxels_are_as_far_apart_as_the_spacing_says():
    first, second = np.zeros((2, 4, 5, 6), dtype=bool)
    first[0, 1, 1] = second[2, 1, 4] = True
    found = surface_distances(first, second, (3.0, 1.0, 0.5))
    assert found == pytest.approx((math.hypot(6.0, 1.5),) * 2)
    assert surface_distances(first, first, (3.0, 1.0, 0.5)) == (0, 0)


@pytest.mark.parametrize("empty", [(0,), (1,), (0, 1)])
def test_an_empty_mask_has_no_distance(empty):
    masks = np.ones((2, 2, 3, 3), dtype=bool)
    masks[list(empty)] = False
    assert np.isnan(surface_distances(*masks, (1, 1, 1))).all()


def test_what_cannot_be_measured_is_an_error():
    mask = np.ones((2, 3, 3), dtype=bool)
    with pytest.raises(ValueError, match="they must agree"):
        surface_distances(mask, mask[:1], (1, 1, 1))
    for spacing in [(1, 1), (1, 0, 1), (1, math.nan, 1)]:
        with pytest.raises(ValueError, match="expected 3 positive numbers"):
            surface_distances(mask, mask, spacing)
