"""ADNet's head against slow plain loops, and both heads as they are trained."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from Stage2.models.alp import WeightedPrototypes
from Stage2.models.anomaly import (
    AnomalyHead,
    AnomalyQueryHead,
    ForegroundPrototype,
    cell_shares,
    class_probabilities,
    log_probabilities,
    upsampled_average,
)  # fmt: skip
from Stage2.models.few_shot import FewShotSegmenter
from Stage2.models.heads import Prototypes
from Stage2.optimisation.training import Training

GRIDS = [((1, 1), (1, 1)), ((1, 3), (4, 5)), ((2, 2), (8, 8)), ((3, 1), (3, 1)), ((4, 3), (2, 9))]


def cells_of(place: int, pixels: int, cells: int, aligned: bool) -> list[tuple[int, float]]:
    """The cells that a pixel is interpolated from, with their weights; by hand."""
    if aligned:
        at = place * (cells - 1) / (pixels - 1) if pixels > 1 else 0.0
    else:
        at = min(max((place + 0.5) * cells / pixels - 0.5, 0.0), cells - 1)
    low = min(math.floor(at), cells - 1)
    return [(low, 1 - (at - low)), (min(low + 1, cells - 1), at - low)]


def upsampled(values: np.ndarray, size: tuple[int, int], aligned: bool) -> np.ndarray:
    """(h, w) -> size, pixel by pixel."""
    result = np.zeros(size)
    for row, column in np.ndindex(size):
        for y, part in cells_of(row, size[0], values.shape[0], aligned):
            for x, share in cells_of(column, size[1], values.shape[1], aligned):
                result[row, column] += part * share * values[y, x]
    return result


@pytest.mark.parametrize(("grid", "size"), GRIDS)
@pytest.mark.parametrize("shots", [1, 2])
def test_the_prototype_is_the_average_of_features_upsampled_to_the_mask(grid, size, shots):
    rng = np.random.default_rng(0)
    features, mask = rng.normal(size=(shots, 3, *grid)), rng.integers(0, 2, size=(shots, *size)).astype(float)
    mask[0, 0, 0] = 1
    averages = np.zeros((shots, 3))
    for shot in range(shots):
        for channel in range(3):
            large, total, count = upsampled(features[shot, channel], size, aligned=False), 0.0, 0.0
            for place in np.ndindex(size):
                total, count = total + large[place] * mask[shot][place], count + mask[shot][place]
            averages[shot, channel] = total / (count + 1e-5)
    found = upsampled_average(*map(torch.from_numpy, (features, mask)))
    np.testing.assert_allclose(found.numpy(), averages.mean(axis=0)[None], atol=1e-9)


@settings(deadline=None, max_examples=30)
@given(grid=st.tuples(st.integers(1, 4), st.integers(1, 4)), factor=st.integers(1, 4), seed=st.integers(0, 99))
def test_shares_of_cells_sum_to_the_mask_and_add_up(grid, factor, seed):
    generator = torch.Generator().manual_seed(seed)
    masks = torch.rand(2, grid[0] * factor, grid[1] * factor, generator=generator, dtype=torch.float64)
    shares = cell_shares(masks, grid)
    torch.testing.assert_close(shares.sum(dim=(1, 2)), masks.sum(dim=(1, 2)))
    torch.testing.assert_close(cell_shares(masks.sum(dim=0, keepdim=True), grid), shares.sum(dim=0, keepdim=True))


def test_an_empty_mask_averages_to_nothing():
    assert torch.equal(upsampled_average(torch.ones(1, 2, 3, 3), torch.zeros(1, 6, 6)), torch.zeros(1, 2))


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 1, 3), (3, 2, 2)])
def test_probabilities_are_those_of_the_sigmoid_at_the_threshold(shape):
    rng = np.random.default_rng(1)
    anomaly, threshold = rng.uniform(-20, 20, size=(shape[0], 1, *shape[1:])), rng.uniform(-20, 0, size=shape[0])
    found = class_probabilities(*map(torch.from_numpy, (anomaly, threshold))).numpy()
    for b, row, column in np.ndindex(shape):
        foreground = 1 - 1 / (1 + math.exp(-0.5 * (anomaly[b, 0, row, column] - threshold[b])))
        assert found[b, :, row, column] == pytest.approx([1 - foreground, foreground], abs=1e-12)


@settings(deadline=None, max_examples=30)
@given(score=st.floats(-20, 20), threshold=st.floats(-20, 20), step=st.floats(0, 5))
def test_foreground_falls_with_the_score_and_rises_with_the_threshold(score, threshold, step):
    def foreground(anomaly, at):
        return class_probabilities(torch.full((1, 1, 1, 1), anomaly), torch.tensor([at]))[0, 1].item()

    middle = foreground(score, threshold)
    assert foreground(score + step, threshold) <= middle <= foreground(score, threshold + step)
    both = class_probabilities(torch.full((1, 1, 1, 1), score), torch.tensor([threshold]))
    assert both.sum().item() == pytest.approx(1)
    assert (middle > 0.5) == (both[0, 1] > both[0, 0]).item()


@pytest.mark.parametrize(("grid", "size"), GRIDS)
def test_probabilities_are_upsampled_with_aligned_corners_and_clamped(grid, size):
    rng = np.random.default_rng(2)
    foreground = rng.random(grid)
    foreground[0, 0] = 0.0
    both = torch.from_numpy(np.stack([1 - foreground, foreground])[None]).float()
    found = log_probabilities(both, size)
    eps = float(np.finfo(np.float32).eps)
    expected = np.log(np.clip(upsampled(foreground, size, aligned=True), eps, 1 - eps))
    np.testing.assert_allclose(found[0, 1].numpy(), expected, atol=1e-5)
    assert found.isfinite().all()


def features_of(seed: int, shots: int = 1, channels: int = 256) -> tuple[torch.Tensor, ...]:
    """Features and masks of a drawn episode: support (S, C, 8, 8), (S, 32, 32); query (1, C, 8, 8), (1, 32, 32)."""
    generator = torch.Generator().manual_seed(seed)
    mask = torch.zeros(shots + 1, 32, 32)
    mask[:, 8:24, 8:20] = 1
    organ = torch.randn(channels, generator=generator)
    noise = torch.randn(shots + 1, channels, 8, 8, generator=generator)
    features = noise + 2 * organ[:, None, None] * functional.avg_pool2d(mask, 4)[:, None]
    return features[:shots], mask[:shots], features[shots:], mask[shots:]


@pytest.mark.parametrize("make", [AnomalyHead, AnomalyQueryHead])
@pytest.mark.parametrize("shots", [1, 2])
@pytest.mark.parametrize("weighed", [True, False])
def test_losses_against_plain_sums(make, shots, weighed):
    """The threshold of the alignment loss is the query's, and the loss is unweighted."""
    head = make()
    if make is AnomalyQueryHead:
        torch.nn.init.normal_(head.weight, std=0.2, generator=torch.Generator().manual_seed(5))
    support, foreground, query, label = features_of(3, shots)
    found = head.losses(support, foreground, query, label.long(), 2, weigh_classes=weighed)
    assert set(found) == {"query_loss", "align_loss", "threshold_loss", "logits"}

    threshold = head.t.item() if make is AnomalyHead else (head.weight[0] @ query.mean(dim=(2, 3))[0]).item() - 10
    assert found["threshold_loss"].item() == pytest.approx(threshold / 20, rel=1e-5)

    def probability(own, prototype):
        cosine = functional.cosine_similarity(own, prototype[:, :, None, None], dim=1)
        return 1 - torch.sigmoid(0.5 * (-20 * cosine - threshold))

    def average(own, mask):
        large = functional.interpolate(own, mask.shape[-2:], mode="bilinear")
        return torch.stack(
            [(large[s] * mask[s]).sum(dim=(1, 2)) / (mask[s].sum() + 1e-5) for s in range(len(own))]
        ).mean(dim=0, keepdim=True)

    def loss(grid, mask, weights):
        large = functional.interpolate(grid[:, None], mask.shape[-2:], mode="bilinear", align_corners=True)[:, 0]
        total = count = 0.0
        for p, value in zip(large.flatten().tolist(), mask.flatten().long().tolist(), strict=True):
            right = min(max(p if value else 1 - p, 1.2e-7), 1 - 1.2e-7)
            total, count = total - weights[value] * math.log(right), count + weights[value]
        return total / count

    of_query = probability(query, average(support, foreground))
    assert found["query_loss"].item() == pytest.approx(loss(of_query, label, (0.1, 1) if weighed else (1, 1)), abs=1e-4)
    reverse = average(query, (of_query > 0.5).float())
    assert found["align_loss"].item() == pytest.approx(
        loss(probability(support, reverse), foreground, (1, 1)), abs=1e-4
    )


@pytest.mark.parametrize("make", [AnomalyHead, AnomalyQueryHead])
def test_an_empty_prediction_has_no_alignment_loss(make):
    head = make()
    with torch.no_grad():
        (head.t if make is AnomalyHead else head.bias).fill_(-25)
    support, foreground, query, label = features_of(4)
    found = head.losses(support, foreground, query, label.long(), 2)
    assert found["align_loss"].item() == 0
    assert head.losses(support, foreground, query, label.long(), 2, align=False)["align_loss"].item() == 0
    sum(found[name] for name in found if name.endswith("_loss")).backward()
    assert all(parameter.grad.isfinite().all() for parameter in head.parameters())


@pytest.mark.parametrize(
    ("name", "keys"), [("anomaly", {"t"}), ("anomaly_query", {"threshold.weight", "threshold.bias"})]
)
def test_a_few_steps_lower_the_loss_and_move_the_threshold(toy, name, keys):
    torch.manual_seed(0)
    model = FewShotSegmenter(toy, name)
    before = {key: value.clone() for key, value in model.state_dict().items() if not key.startswith("encoder.")}
    assert set(before) == keys
    training = Training(model, learning_rate=0.02, decay=0.95)
    generator = torch.Generator().manual_seed(0)
    foreground = torch.zeros(1, 64, 64)
    foreground[:, 8:48, 8:40] = 1
    images = torch.randn(2, 1, 3, 64, 64, generator=generator) + 2 * foreground[:, None]
    episode = {"support_image": images[0], "support_foreground": foreground, "query_image": images[1]}
    episode["query_label"] = foreground.long()
    losses = [training.take_step(episode, window=2)["total_loss"] for _ in range(12)]
    assert losses[-1] < losses[0]
    after = model.state_dict()
    assert all(not torch.equal(value, after[key]) for key, value in before.items())


def test_the_query_tells_its_own_threshold():
    head = AnomalyQueryHead()
    queries = torch.randn(3, 256, 2, 2)
    assert head.threshold(queries).tolist() == [-10, -10, -10]  # as ADNet's at the start
    with torch.no_grad():
        head.weight.copy_(torch.linspace(-1, 1, 256)[None])
    for b in range(3):
        expected = -10 + sum(w * queries[b, c].mean().item() for c, w in enumerate(head.weight[0].tolist()))
        assert head.threshold(queries)[b].item() == pytest.approx(expected, abs=1e-4)


def test_a_prototype_of_the_query_is_the_mean_of_its_foreground_and_counts_half():
    head, support = AnomalyHead(), ForegroundPrototype(torch.tensor([[1.0, 0.0]]))
    cells = Prototypes(background=torch.tensor([[-1.0, 0.0]]), foreground=torch.tensor([[0.0, 1.0], [0.0, 3.0]]))
    joined = head.joined(support, cells, most=5)
    assert isinstance(joined.foreground, WeightedPrototypes)
    assert joined.foreground.vectors.tolist() == [[1, 0], [0, 2]]
    assert joined.foreground.log_weights.tolist() == pytest.approx([0, math.log(0.5)])
    query = torch.tensor([0.6, 0.8])[None, :, None, None]
    weights = [math.exp(20 * 0.6), 0.5 * math.exp(20 * 0.8)]
    score = -(weights[0] * 12 + weights[1] * 16) / sum(weights)
    foreground = 1 / (1 + math.exp(0.5 * (score + 10)))
    assert head.scores(query, joined)[0, 1].item() == pytest.approx(foreground, abs=1e-6)
