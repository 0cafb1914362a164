"""Probes against slow naive versions, on data that can be told apart and on data that cannot."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from stage2.evaluation.drawn_cells import NAMES, scan_cells
from torch import nn

from Stage2.evaluation import probe
from Stage2.evaluation.cells import ScanCells, choose_training_cells
from Stage2.evaluation.probe import (
    LinearProbe,
    NeighbourProbe,
    adapt_batch_norm,
    dense_features,
    network_up_to,
    probe_backbone,
    score_predictions,
)
from Stage2.models.resnets import DilatedResNet


def clusters(n_per_class: int, seed: int, n_classes: int = 3, channels: int = 8) -> tuple[torch.Tensor, torch.Tensor]:
    """Features around one direction per class, (n, C), and classes, (n,)."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n_classes).repeat_interleave(n_per_class)
    return torch.eye(channels)[labels] * 3 + torch.randn(len(labels), channels, generator=generator) * 0.3, labels


@pytest.fixture
def backbone():
    torch.manual_seed(0)
    return DilatedResNet(18).eval()


def naive_vote(keys, labels, query, n_classes, neighbours):
    """The class of one query cell, by plain Python."""
    norm = math.sqrt(sum(x * x for x in query))
    found = []
    for key, label in zip(keys, labels, strict=True):
        product = sum(a * b for a, b in zip(key, query, strict=True))
        found.append((product / norm / math.sqrt(sum(x * x for x in key)), label))
    votes = [0.0] * n_classes
    for similarity, label in sorted(found, reverse=True)[:neighbours]:
        votes[label] += math.exp(similarity / probe.KNN_TEMPERATURE)
    return votes.index(max(votes))


@pytest.mark.parametrize(("cells", "channels", "queries", "neighbours"), [(1, 1, 1, 1), (9, 2, 7, 3), (30, 5, 20, 30)])
@pytest.mark.parametrize("chunk", [1, 4, 1024])
def test_neighbours_vote_as_in_a_loop(cells, channels, queries, neighbours, chunk, monkeypatch):
    monkeypatch.setattr(probe, "QUERIES_PER_CHUNK", chunk)
    generator = torch.Generator().manual_seed(cells)
    keys = torch.randn(cells, channels, generator=generator)
    unknown = torch.randn(queries, channels, generator=generator)
    labels = torch.randint(3, (cells,), generator=generator)
    expected = [naive_vote(keys.tolist(), labels.tolist(), query, 3, neighbours) for query in unknown.tolist()]
    assert NeighbourProbe(keys, labels, 3, neighbours).predict(unknown).tolist() == expected


@pytest.mark.parametrize("neighbours", [0, 4])
def test_a_number_of_neighbours_that_is_not_there_is_refused(neighbours):
    with pytest.raises(ValueError, match=f"found 3 training cells for {neighbours} neighbours"):
        NeighbourProbe(torch.eye(3), torch.arange(3), 3, neighbours)


def test_the_linear_probe_is_the_minimum_of_its_loss():
    features, labels = clusters(20, seed=0)
    features = features * torch.tensor([1.0, 10, 100, 1, 1, 1, 1, 0]) + 5  # the last channel is constant
    fitted = LinearProbe(features, labels, 3)
    x, y = features.double().numpy(), labels.numpy()
    deviation = np.where(x.std(axis=0) > 0, x.std(axis=0), 1)
    x = (x - x.mean(axis=0)) / deviation
    weight, bias = fitted.weight.double().numpy(), fitted.bias.double().numpy()
    exponents = np.exp(x @ weight.T + bias)
    error = exponents / exponents.sum(axis=1, keepdims=True) - np.eye(3)[y]  # (M, K)
    gradient = error.T @ x / len(x) + probe.WEIGHT_DECAY * weight
    assert np.abs(weight).max() > 0.1
    assert np.abs(gradient).max() < 1e-3
    assert np.abs(error.mean(axis=0)).max() < 1e-3
    np.testing.assert_allclose(fitted.mean.numpy(), features.double().numpy().mean(axis=0), rtol=1e-5)


@pytest.mark.parametrize("kind", ["knn", "linear"])
def test_a_probe_separates_what_can_be_separated_and_falls_to_chance_on_permuted_labels(kind):
    def accuracy(labels: torch.Tensor) -> float:
        fitted = NeighbourProbe(features, labels, 3, 20) if kind == "knn" else LinearProbe(features, labels, 3)
        return (fitted.predict(unknown) == truth).double().mean().item()

    (features, labels), (unknown, truth) = clusters(100, seed=0), clusters(100, seed=1)
    assert accuracy(labels) > 0.99
    permuted = [labels[torch.randperm(300, generator=torch.Generator().manual_seed(seed))] for seed in range(20)]
    assert np.mean([accuracy(labels) for labels in permuted]) == pytest.approx(1 / 3, abs=0.1)


def test_scores_by_hand():
    predictions = [np.array([0, 1, 1, 2]), np.array([0, 0, 1])]
    targets = [np.array([0, 0, 1, 2]), np.array([0, 0, 0])]
    score = score_predictions(predictions, targets, NAMES)
    assert score.dice == pytest.approx({"A": 2 / 3, "B": 1.0})  # the second scan shows neither organ
    assert score.recall == pytest.approx({"BG": (1 / 2 + 2 / 3) / 2, "A": 1.0, "B": 1.0})
    assert score.mean_dice == pytest.approx(5 / 6)
    assert score.balanced_accuracy == pytest.approx((7 / 12 + 2) / 3)


def test_an_organ_that_no_scan_shows_has_no_score():
    score = score_predictions([np.array([0, 1])], [np.array([0, 1])], NAMES)
    assert math.isnan(score.dice["B"])
    assert score.mean_dice == score.balanced_accuracy == 1


@torch.no_grad()
def test_features_are_those_of_the_wanted_cells(backbone, monkeypatch):
    monkeypatch.setattr(probe, "SLICES_PER_BATCH", 2)
    images = scan_cells(0, n_slices=5).images
    cells = np.zeros((5, 8, 8), dtype=bool)
    cells[0, 1, 2] = cells[2, 7, 0] = cells[4, 0, 5] = cells[4, 3, 3] = True
    found = torch.cat(list(dense_features(network_up_to(backbone, "C5"), images, cells)))
    whole = backbone(torch.from_numpy(images)[:, None].expand(-1, 3, -1, -1))
    expected = [whole[z, :, row, column] for z, row, column in [(0, 1, 2), (2, 7, 0), (4, 0, 5), (4, 3, 3)]]
    torch.testing.assert_close(found, torch.stack(expected), rtol=1e-4, atol=1e-3)
    assert network_up_to(backbone, "C4")(torch.zeros(1, 3, 64, 64)).shape == (1, 256, 8, 8)


def test_adapted_statistics_are_those_of_the_slices(backbone, monkeypatch):
    monkeypatch.setattr(probe, "SLICES_PER_BATCH", 2)
    scans = [scan_cells(0, n_slices=4), scan_cells(1, n_slices=2)]
    adapt_batch_norm(network_up_to(backbone, "C5").eval(), scans, seed=0)
    inputs = backbone.conv1(torch.cat([torch.from_numpy(scan.images) for scan in scans])[:, None].expand(-1, 3, -1, -1))
    torch.testing.assert_close(backbone.bn1.running_mean, inputs.mean(dim=(0, 2, 3)), rtol=1e-3, atol=1e-4)
    assert not backbone.training
    layers = [module for module in backbone.modules() if isinstance(module, nn.BatchNorm2d)]
    assert all(layer.momentum == 0.1 for layer in layers)
    assert all(layer.running_var.ne(1).any() for layer in layers)


def test_saved_statistics_stay(backbone):
    scans = [scan_cells(0), scan_cells(1)]
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    chosen = choose_training_cells(scans, NAMES, 20, seed=0)
    probe_backbone(backbone, scans, chosen, scans[:1], NAMES, batch_norm="saved")
    assert all(torch.equal(value, before[key]) for key, value in backbone.state_dict().items())


def test_probes_find_organs_that_brightness_tells(backbone):
    training, held_out = [scan_cells(0), scan_cells(1)], [scan_cells(2), scan_cells(3, n_slices=1)]
    chosen = choose_training_cells(training, NAMES, 50, seed=0)
    scores = probe_backbone(backbone, training, chosen, held_out, NAMES)
    assert set(scores) == {"knn", "linear"}
    for score in scores.values():
        assert score.mean_dice > 0.8
        assert score.balanced_accuracy > 0.8
    swapped = [ScanCells(scan.images, scan.labels[:, ::-1, ::-1], scan.pure, scan.scored) for scan in held_out]
    worse = probe_backbone(backbone, training, chosen, swapped, NAMES, probes=["knn"])
    assert set(worse) == {"knn"}
    assert worse["knn"].mean_dice < scores["knn"].mean_dice - 0.3


def test_normalising_is_part_of_the_neighbours(monkeypatch):
    keys, labels = clusters(10, seed=3)
    unknown, _ = clusters(10, seed=4)
    scales = torch.rand(len(keys), 1, generator=torch.Generator().manual_seed(0)) + 0.5
    plain = NeighbourProbe(keys, labels, 3, 5).predict(unknown)
    assert torch.equal(NeighbourProbe(keys * scales, labels, 3, 5).predict(unknown * 7), plain)
    torch.testing.assert_close(NeighbourProbe(keys * scales, labels, 3, 5).keys, F.normalize(keys, dim=1))
