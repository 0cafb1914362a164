"""Felzenszwalb's method in three dimensions against its definition, edge by edge, and what it promises."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from Stage2.preparation.steps import graph_segments
from Stage2.preparation.steps.graph_segments import (
    SCALE_UNIT,
    felzenszwalb_volume,
    grid_edges,
    merge_by_contrast,
    merge_small,
    spanning_edges,
)

SHAPES = [(1, 1, 1), (1, 1, 5), (4, 1, 1), (1, 5, 4), (3, 4, 5), (2, 6, 1)]


def slow_edges(volume: np.ndarray, mask: np.ndarray) -> list[tuple[float, int, int]]:
    """(difference, voxel, voxel) of neighbours in the mask, axis by axis."""
    inside = {place: node for node, place in enumerate(map(tuple, np.argwhere(mask).tolist()))}
    edges = []
    for axis in range(3):
        for place in inside:
            other = tuple(step + (dimension == axis) for dimension, step in enumerate(place))
            if other in inside:
                edges.append((abs(float(volume[place] - volume[other])), inside[place], inside[other]))
    return edges


def slow_segments(volume: np.ndarray, mask: np.ndarray, k: float, min_size: int) -> list[set[int]]:
    """The paper's algorithm with sets of voxels, over all edges, then the merging of small segments."""
    segments = [{node} for node in range(int(mask.sum()))]
    inner = {id(segment): 0.0 for segment in segments}
    edges = sorted(slow_edges(volume, mask), key=lambda edge: edge[0])
    for small_only, (weight, u, v) in product((False, True), edges):
        first, second = (next(segment for segment in segments if node in segment) for node in (u, v))
        if first is second:
            continue
        if small_only:
            joined = min(len(first), len(second)) < min_size
        else:
            joined = all(weight <= inner[id(one)] + k / len(one) for one in (first, second))
        if joined:
            segments.remove(second)
            first |= second
            inner[id(first)] = weight
    return segments


def partition(numbers: np.ndarray) -> set[frozenset[int]]:
    return {frozenset(np.flatnonzero(numbers == number).tolist()) for number in np.unique(numbers)}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("k", "min_size"), [(0.0, 1), (3.0, 1), (0.01, 3), (6.0, 4), (1e9, 1), (0.0, 1000)])
@pytest.mark.parametrize("chunk", [1, 7, 1 << 16])
def test_segments_are_those_of_the_definition(shape, k, min_size, chunk, monkeypatch):
    monkeypatch.setattr(graph_segments, "CHUNK", chunk)
    rng = np.random.default_rng(0)
    for high in (3, 50):  # many equal differences, and few
        volume, mask = rng.integers(0, high, shape).astype(np.float64), rng.random(shape) < 0.8
        mask.flat[0] = True
        numbers = felzenszwalb_volume(volume, mask, (3, 1, 1), scale=k / SCALE_UNIT, sigma=0, min_size=min_size)
        assert numbers.dtype == np.int32 and not numbers[~mask].any()
        assert set(numbers[mask].tolist()) == set(range(1, numbers.max() + 1))
        assert partition(numbers[mask]) == set(map(frozenset, slow_segments(volume, mask, k, min_size)))


@pytest.mark.parametrize("shape", SHAPES)
def test_edges_are_those_of_the_definition(shape):
    rng = np.random.default_rng(1)
    volume, mask = rng.normal(size=shape), rng.random(shape) < 0.7
    edges, weights = grid_edges(volume, mask)
    assert list(zip(weights.tolist(), *edges.tolist(), strict=True)) == slow_edges(volume, mask)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6), st.sampled_from([0, 1, 20]), st.integers(1, 12))
def test_a_segment_is_connected_and_large_enough(seed, scale, min_size):
    rng = np.random.default_rng(seed)
    volume, mask = rng.normal(0, 100, (4, 6, 5)), rng.random((4, 6, 5)) < 0.75
    numbers = felzenszwalb_volume(volume, mask, (5, 1, 1), scale=scale, sigma=1, min_size=min_size)
    pieces, _ = ndimage.label(mask)
    for number in range(1, numbers.max() + 1):
        segment = numbers == number
        assert ndimage.label(segment)[1] == 1
        whole = pieces == pieces[segment][0]  # nothing to merge with, where it is all of a piece of the mask
        assert segment.sum() >= min_size or np.array_equal(segment, whole)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6), st.sampled_from([0, 300]), st.integers(1, 12), st.integers(0, 2))
def test_a_volume_turned_round_has_the_same_segments(seed, scale, min_size, axis):
    rng = np.random.default_rng(seed)
    volume, mask = rng.normal(0, 100, (4, 5, 6)), rng.random((4, 5, 6)) < 0.8
    wanted = {"spacing": (5, 1, 1), "scale": scale, "sigma": 0, "min_size": min_size}
    numbers = felzenszwalb_volume(volume, mask, **wanted)
    turned = np.flip(felzenszwalb_volume(np.flip(volume, axis), np.flip(mask, axis), **wanted), axis)
    assert partition(turned[mask]) == partition(numbers[mask])


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6), st.integers(1, 12))
def test_the_spanning_tree_merges_small_segments_as_all_edges_do(seed, min_size):
    rng = np.random.default_rng(seed)
    volume, mask = rng.integers(0, 9, (3, 5, 5)).astype(float), rng.random((3, 5, 5)) < 0.9
    edges, weights = grid_edges(volume, mask)
    order, n_nodes = np.argsort(weights, kind="stable"), int(mask.sum())
    edges = edges[:, order]
    roots = merge_by_contrast(edges, weights[order], n_nodes, k=2.0)
    tree = spanning_edges(edges, n_nodes)
    assert tree.shape[1] == n_nodes - ndimage.label(mask)[1]
    assert partition(merge_small(tree, roots, min_size)) == partition(merge_small(edges, roots, min_size))


def test_smoothing_is_as_wide_in_mm_along_all_axes(monkeypatch):
    asked = []
    monkeypatch.setattr(graph_segments, "gaussian_filter", lambda volume, sigma: asked.append(sigma.tolist()) or volume)
    felzenszwalb_volume(np.zeros((2, 2, 2)), np.ones((2, 2, 2), bool), (8, 2, 1), scale=1, sigma=2, min_size=1)
    assert asked == [[0.25, 1, 2]]


def test_an_empty_mask_has_no_segment():
    empty = np.zeros((2, 3, 3), bool)
    assert not felzenszwalb_volume(np.ones((2, 3, 3)), empty, (1, 1, 1), scale=1, sigma=1, min_size=2).any()
