"""Pairs of slices that an episode can be made of, against plain loops."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from Stage2.datasets.supervoxels import areas_by_slice, pair_chances, successive_pairs

SHAPES = [(1, 1, 1), (1, 3, 3), (2, 1, 4), (6, 4, 5)]


@pytest.mark.parametrize("shape", SHAPES)
def test_areas_are_counted_in_every_slice(shape):
    volume = np.random.default_rng(0).integers(0, 4, shape)
    areas = areas_by_slice(volume)
    assert areas.shape == (shape[0], volume.max() + 1)
    for z, number in np.ndindex(areas.shape):
        assert areas[z, number] == (0 if number == 0 else sum(pixel == number for pixel in volume[z].ravel()))


def slow_pairs(volume: np.ndarray, excluded: set[int], min_area: int) -> list[tuple[int, int]]:
    pairs = []
    for number in range(1, volume.max() + 1):
        for z in range(len(volume) - 1):
            first, second = (np.count_nonzero(volume[place] == number) for place in (z, z + 1))
            if not {z, z + 1} & excluded and first and second and max(first, second) >= min_area:
                pairs.append((number, z))
    return pairs


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("excluded", [set(), {0}, {2, 3}])
@pytest.mark.parametrize("min_area", [1, 3, 100])
def test_pairs_are_those_of_the_definition(shape, excluded, min_area):
    excluded = {z for z in excluded if z < shape[0]}
    volume = np.random.default_rng(1).integers(0, 5, shape)
    areas = areas_by_slice(volume)
    pairs = successive_pairs(areas, excluded, min_area)
    assert pairs.tolist() == [list(pair) for pair in slow_pairs(volume, excluded, min_area)]


@settings(deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 4))
def test_chances_are_those_of_drawing_again_and_again(seed, min_area):
    volume = np.random.default_rng(seed).integers(0, 5, (5, 2, 3))
    areas = areas_by_slice(volume)
    pairs = [tuple(pair) for pair in successive_pairs(areas, {4}, min_area).tolist()]
    if not pairs:
        return
    candidates = slow_pairs(volume, {4}, 1)
    drawn = sorted({number for number, _ in candidates})
    slices = {number: [pair for pair in candidates if pair[0] == number] for number in drawn}
    chance = {pair: Fraction(1, len(drawn)) / len(slices[pair[0]]) for pair in candidates}
    usable = sum(chance[pair] for pair in pairs)
    expected = [float(chance[pair] / usable) for pair in pairs]
    assert pair_chances(np.array(pairs), areas, {4}) == pytest.approx(expected)
