"""Slices are found again by their content, from a whole scan, a part of it, or a single slice, or by their place."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from Stage2.segmentation.matching import (
    body_extent,
    monotone_matching,
    nearest_parts,
    parts_of_chunks,
    parts_of_range,
    place_slices,
    positions_by_extent,
    slice_similarity,
    within_organ,
)


@pytest.mark.parametrize(("n_query", "n_support"), [(1, 1), (1, 4), (4, 1), (3, 4), (5, 3)])
def test_the_matching_is_the_best_of_all_that_do_not_decrease(n_query, n_support):
    for seed in range(5):
        similarity = np.random.default_rng(seed).normal(size=(n_query, n_support))
        ways = itertools.combinations_with_replacement(range(n_support), n_query)
        best = max(ways, key=lambda way: sum(similarity[z, s] for z, s in enumerate(way)))
        assert monotone_matching(similarity).tolist() == list(best)


def test_slices_alike_everywhere_fall_to_the_first():
    assert monotone_matching(np.zeros((3, 4))).tolist() == [0, 0, 0]


def test_a_stretched_scan_in_other_units_finds_its_slices():
    features = torch.from_numpy(np.random.default_rng(0).normal(size=(6, 8, 5, 5))).float()
    places = [0, 0, 1, 2, 2, 3, 4, 5, 5]
    query = 3 * features[places] + 10
    assert monotone_matching(slice_similarity(query, features)).tolist() == places


@pytest.mark.parametrize(("n_query", "n_support"), [(5, 6), (1, 6), (4, 5), (6, 4), (1, 1)])
def test_similarity_is_a_cosine_of_pooled_slices_less_the_mean_of_whole_scans(n_query, n_support):
    """A scan of fewer than 5 slices has no mean of its own: the support's is taken off, or none."""
    rng = np.random.default_rng(1)
    query, support = rng.normal(size=(n_query, 2, 8, 8)) + 3, rng.normal(size=(n_support, 2, 8, 8)) + 3
    pooled = [own.reshape(len(own), 2, 4, 2, 4, 2).mean(axis=(3, 5)).reshape(len(own), -1) for own in (query, support)]
    means = [own.mean(axis=0) for own in pooled]
    if n_query < 5 or n_support < 5:
        means = [means[1] if n_support >= 5 else 0] * 2
    plain = [[row / np.linalg.norm(row) for row in own - mean] for own, mean in zip(pooled, means, strict=True)]
    expected = [[a @ b for b in plain[1]] for a in plain[0]]
    np.testing.assert_allclose(
        slice_similarity(torch.from_numpy(query), torch.from_numpy(support)), expected, atol=1e-12
    )


def test_the_body_begins_and_ends_with_slices_that_show_a_tenth_of_it():
    volume = np.zeros((6, 20, 20))
    volume[1, 0, 0] = 9  # a bright speck is no body
    volume[2:4, 5:15, 5:15] = 9
    volume[4, 5:10, 5:10] = 9
    assert body_extent(volume, 5) == (2, 4)
    assert body_extent(volume, 10) == (0, 5)


def test_relative_positions_follow_the_body():
    assert positions_by_extent(5, (0, 4), (10, 18)).tolist() == [10, 12, 14, 16, 18]
    assert positions_by_extent(5, (1, 3), (0, 4)).tolist() == [-2, 0, 2, 4, 6]
    assert positions_by_extent(1, (0, 0), (3, 9)).tolist() == [3]


@pytest.fixture(scope="module")
def features() -> torch.Tensor:
    """(20, 6, 8, 8): slices that change steadily along z."""
    generator = torch.Generator().manual_seed(0)
    steps = torch.randn(20, 6, 8, 8, generator=generator)
    return steps.cumsum(dim=0) + 3


@pytest.mark.parametrize("chosen", [range(20), range(3, 15), range(6, 9), [11], [0]])
def test_slices_of_the_support_itself_are_found(features, chosen):
    chosen = list(chosen)
    found = place_slices("similarity", features[chosen], features, (0, 1), (0, 1))
    if len(chosen) in (1, 3, 20):
        assert found.tolist() == chosen
    else:  # the mean of a part is not that of the whole
        assert np.abs(found - chosen).mean() < 1.5


def test_a_support_of_one_slice_takes_every_query_slice(features):
    assert monotone_matching(slice_similarity(features[:7], features[4:5])).tolist() == [0] * 7


def test_position_goes_by_the_extent_of_the_body(features):
    places = place_slices("position", features[:5], features, (1, 3), (10, 14))
    np.testing.assert_allclose(places, [8, 10, 12, 14, 16])


def test_the_organ_is_looked_for_in_its_range_and_a_margin():
    places = np.array([0, 3, 4, 5, 8, 9, 10])
    assert within_organ(places, [5, 7, 8], 1).tolist() == [False, False, True, True, True, True, False]
    assert within_organ(places, [5], 0).tolist() == [False, False, False, True, False, False, False]


def test_the_nearest_support_slice_is_taken():
    assert nearest_parts(np.array([-4, 3, 4, 4.1, 5, 99]), [3, 5, 7]).tolist() == [0, 0, 0, 1, 1, 2]


def plain_chunks(depth: int, shown: list[int], n_parts: int) -> list[int]:
    """Chunk of the i-th slice that shows the class: the last one whose first entry, the whole part of share * C, is
    not behind i."""
    parts = [-1] * depth
    for place, z in enumerate(shown):
        parts[z] = max(part for part in range(n_parts) if part * len(shown) // n_parts <= place)
    return parts


@given(st.sets(st.integers(0, 49)), st.integers(1, 4))
def test_chunks_are_those_of_a_plain_loop(shown, n_parts):
    parts = parts_of_chunks(50, sorted(shown), n_parts)
    assert parts.tolist() == plain_chunks(50, sorted(shown), n_parts)
    own = parts[sorted(shown)]
    assert (own >= 0).all() and (np.diff(own) >= 0).all() and (np.delete(parts, sorted(shown)) == -1).all()
    sizes = np.bincount(own, minlength=n_parts)
    assert sizes.max() - sizes.min() <= 1


def test_chunks_skip_a_hole_that_the_range_covers():
    assert parts_of_chunks(9, [1, 2, 5, 6, 7], 3).tolist() == [-1, 0, 1, -1, -1, 1, 2, 2, -1]
    assert parts_of_range(9, 1, 7, 3).tolist() == [0, 0, 0, 1, 1, 2, 2, 2, 2]
    assert parts_of_chunks(4, [2], 3).tolist() == [-1, -1, 2, -1]


def test_parts_of_a_known_range():
    assert parts_of_range(9, 2, 7, 3).tolist() == [0, 0, 0, 0, 1, 1, 2, 2, 2]
    assert parts_of_range(3, 1, 1, 3).tolist() == [0, 0, 0]
