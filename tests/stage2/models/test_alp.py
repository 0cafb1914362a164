"""Prototypes and scores against loops of plain Python, over shapes that include 1."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from Stage2.models.alp import (
    DegenerateEpisodeError,
    background_prototypes,
    foreground_prototypes,
    global_prototypes,
    has_pure_cell,
    local_prototypes,
    similarity_score,
)


def slow_cells(values, window):
    """Average of every window x window cell of a 2D list, in raster order."""
    height, width = len(values) // window, len(values[0]) // window
    return [
        sum(values[i * window + a][j * window + b] for a in range(window) for b in range(window)) / window**2
        for i in range(height)
        for j in range(width)
    ]


def slow_local_prototypes(features, mask, window):
    prototypes = []
    for shot_features, shot_mask in zip(features.tolist(), mask.tolist(), strict=True):
        inside = slow_cells(shot_mask[0], window)
        channels = [slow_cells(channel, window) for channel in shot_features]
        prototypes += [[channel[cell] for channel in channels] for cell, share in enumerate(inside) if share > 0.95]
    return prototypes


def slow_scores(query, prototypes):
    """Nested lists (B, h, w) of sum softmax(20 cos) * 20 cos."""
    batch, channels, height, width = query.shape
    result = torch.zeros(batch, height, width)
    for b in range(batch):
        for y in range(height):
            for x in range(width):
                vector = [float(query[b, c, y, x]) for c in range(channels)]
                length = max(math.sqrt(sum(v * v for v in vector)), 1e-4)
                similarity = []
                for prototype in prototypes.tolist():
                    own = max(math.sqrt(sum(p * p for p in prototype)), 1e-4)
                    similarity.append(20 * sum(v * p for v, p in zip(vector, prototype, strict=True)) / (length * own))
                weights = [math.exp(s) for s in similarity]
                result[b, y, x] = sum(w * s for w, s in zip(weights, similarity, strict=True)) / sum(weights)
    return result


def random_mask(shots, side, seed):
    """Masks that are 1 in the upper left, 0 at the lower right, with a soft border."""
    generator = torch.Generator().manual_seed(seed)
    mask = torch.zeros(shots, 1, side, side)
    mask[:, :, : side // 2 + 1, : side // 2 + 1] = 1
    return (mask + 0.04 * torch.rand(mask.shape, generator=generator) - 0.02).clamp(0, 1)


@pytest.mark.parametrize(
    ("shots", "channels", "side", "window"), [(1, 1, 4, 1), (1, 3, 8, 2), (2, 5, 8, 4), (3, 2, 4, 4)]
)
def test_local_prototypes(shots, channels, side, window):
    features = torch.randn(shots, channels, side, side, generator=torch.Generator().manual_seed(1))
    mask = random_mask(shots, side, seed=2)
    expected = slow_local_prototypes(features, mask, window)
    found = local_prototypes(features, mask, window)
    assert found.shape == (len(expected), channels)
    if expected:
        torch.testing.assert_close(found, torch.tensor(expected), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(("batch", "channels", "side", "count"), [(1, 1, 1, 1), (1, 4, 3, 1), (2, 3, 2, 5)])
def test_scores(batch, channels, side, count):
    generator = torch.Generator().manual_seed(3)
    query = torch.randn(batch, channels, side, side, generator=generator)
    prototypes = torch.randn(count, channels, generator=generator)
    scores, nearest = similarity_score(query, prototypes)
    torch.testing.assert_close(scores[:, 0], slow_scores(query, prototypes), atol=1e-4, rtol=1e-4)
    assert nearest.shape == (batch, side, side)


@given(st.permutations(range(5)))
def test_scores_do_not_depend_on_the_order_of_prototypes(order):
    generator = torch.Generator().manual_seed(4)
    query, prototypes = torch.randn(1, 6, 3, 3, generator=generator), torch.randn(5, 6, generator=generator)
    scores, nearest = similarity_score(query, prototypes)
    shuffled_scores, shuffled_nearest = similarity_score(query, prototypes[list(order)])
    torch.testing.assert_close(scores, shuffled_scores, atol=1e-5, rtol=1e-5)
    assert torch.equal(torch.tensor(order)[shuffled_nearest], nearest)


@given(st.floats(0.01, 100), st.floats(0.01, 100))
def test_scores_do_not_depend_on_the_length_of_features(query_scale, prototype_scale):
    generator = torch.Generator().manual_seed(5)
    query, prototypes = torch.randn(1, 6, 3, 3, generator=generator), torch.randn(4, 6, generator=generator)
    expected, _ = similarity_score(query, prototypes)
    scaled, _ = similarity_score(query * query_scale, prototypes * prototype_scale)
    torch.testing.assert_close(scaled, expected, atol=1e-4, rtol=1e-4)


def test_global_prototype_of_an_empty_mask_is_zero_and_scores_zero():
    features = torch.randn(2, 3, 4, 4)
    prototypes = global_prototypes(features, torch.zeros(2, 1, 4, 4))
    assert torch.equal(prototypes, torch.zeros(2, 3))
    scores, _ = similarity_score(features, prototypes[:1])
    assert torch.equal(scores, torch.zeros(2, 1, 4, 4))


def test_global_prototype_is_the_masked_mean():
    features, mask = torch.randn(1, 3, 4, 4), torch.zeros(1, 1, 4, 4)
    mask[0, 0, 1, 2] = mask[0, 0, 3, 3] = 1
    expected = (features[0, :, 1, 2] + features[0, :, 3, 3]) / 2
    torch.testing.assert_close(global_prototypes(features, mask)[0], expected, atol=1e-4, rtol=1e-4)


def test_branch_is_decided_at_a_window_of_four_whatever_the_pooling():
    mask = torch.zeros(1, 1, 8, 8)
    mask[..., :4, :4] = 1
    mask[..., 0, 0] = 0.5  # 15.5 / 16 = 0.969
    assert has_pure_cell(mask)
    mask[..., 0, 1] = 0.5  # 15 / 16 = 0.938: too little for a 4 x 4 cell, though 2 x 2 cells are full
    assert not has_pure_cell(mask)
    features = torch.randn(1, 3, 8, 8)
    assert len(foreground_prototypes(features, mask, window=2)) == 1


def test_local_and_global_mode_keeps_the_global_prototype_of_every_shot_and_global_mode_averages_them():
    features = torch.randn(3, 5, 8, 8)
    large, small = torch.zeros(3, 1, 8, 8), torch.zeros(3, 1, 8, 8)
    large[:, :, :4, :4] = 1
    small[:, :, :2, :2] = 1
    found = foreground_prototypes(features, large, window=4)
    assert len(found) == 3 + 3
    torch.testing.assert_close(found[3:], global_prototypes(features, large))
    averaged = foreground_prototypes(features, small, window=4)
    torch.testing.assert_close(averaged, global_prototypes(features, small).mean(dim=0, keepdim=True))


def test_support_without_background_is_degenerate():
    with pytest.raises(DegenerateEpisodeError, match="no 4 x 4 cell"):
        background_prototypes(torch.randn(1, 3, 8, 8), torch.full((1, 1, 8, 8), 0.95), window=4)
