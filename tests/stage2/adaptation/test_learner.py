"""The losses equal slow ones in plain Python; a few steps lower the loss; what is unknown teaches nothing."""

import math
from copy import deepcopy

import pytest
import torch
from stage2.adaptation.discs import disc_scan

from Stage2.adaptation.learner import IGNORED, Learner, merge_unknown, segmentation_loss
from Stage2.adaptation.network import AdaptedNetwork
from Stage2.adaptation.working_grid import with_neighbours

SHAPES = [(1, 1, 1, 1), (1, 2, 1, 1), (2, 3, 1, 4), (3, 4, 3, 2)]


def drawn(shape: tuple[int, ...], ignored: float = 0.3) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores, and labels of which a share is unknown."""
    generator = torch.Generator().manual_seed(sum(shape))
    scores = torch.randn(shape, generator=generator)
    labels = torch.randint(shape[1], (shape[0], *shape[2:]), generator=generator)
    labels[torch.rand(labels.shape, generator=generator) < ignored] = IGNORED
    return scores, labels


def slow_loss(scores: torch.Tensor, labels: torch.Tensor) -> float:
    batch, classes, height, width = scores.shape
    entropy, pixels = 0.0, 0
    both, found, area = [0.0] * classes, [0.0] * classes, [0] * classes
    for b in range(batch):
        for y in range(height):
            for x in range(width):
                label = int(labels[b, y, x])
                if label == IGNORED:
                    continue
                exponentials = [math.exp(scores[b, c, y, x]) for c in range(classes)]
                shares = [own / sum(exponentials) for own in exponentials]
                entropy -= math.log(shares[label])
                pixels += 1
                area[label] += 1
                both[label] += shares[label]
                found = [total + share for total, share in zip(found, shares, strict=True)]
    shown = [c for c in range(classes) if area[c]]
    dice = [(2 * both[c] + 1) / (found[c] + area[c] + 1) for c in shown]
    return entropy / max(pixels, 1) + (1 - sum(dice) / len(dice) if dice else 0.0)


@pytest.mark.parametrize("ignored", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_loss_is_that_of_a_loop(shape, ignored):
    scores, labels = drawn(shape, ignored)
    assert segmentation_loss(scores, labels).item() == pytest.approx(slow_loss(scores, labels), abs=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_merged_scores_are_those_of_a_loop(shape):
    scores, _ = drawn(shape)
    known = torch.rand(shape[0], shape[1] - 1, generator=torch.Generator().manual_seed(1)) < 0.5
    merged = merge_unknown(scores, known)
    assert merged.shape == scores.shape
    for b in range(shape[0]):
        behind = [0] + [organ for organ in range(1, shape[1]) if not known[b, organ - 1]]
        total = torch.stack([scores[b, c] for c in behind]).exp().sum(0).log()
        assert torch.allclose(merged[b, 0], total, atol=1e-5)
        for organ in range(1, shape[1]):
            if known[b, organ - 1]:
                assert torch.equal(merged[b, organ], scores[b, organ])
            else:
                assert merged[b].softmax(0)[organ].max() == 0


def test_an_undrawn_organ_may_be_anywhere_in_the_background():
    scores = torch.tensor([[0.0, 9.0]]).view(1, 2, 1, 1)
    background = torch.zeros(1, 1, 1, dtype=torch.int64)
    known, unknown = (segmentation_loss(merge_unknown(scores, torch.tensor([[k]])), background) for k in (True, False))
    assert known > 5
    assert unknown < 1e-3


def test_unknown_pixels_have_no_gradient():
    scores, labels = drawn((2, 3, 4, 4))
    scores.requires_grad_()
    segmentation_loss(scores, labels).backward()
    assert (scores.grad.permute(0, 2, 3, 1)[labels == IGNORED] == 0).all()
    assert (scores.grad.permute(0, 2, 3, 1)[labels != IGNORED] != 0).all()
    scores.grad = None
    segmentation_loss(scores, torch.full_like(labels, IGNORED)).backward()
    assert (scores.grad == 0).all()


def test_merging_has_a_finite_gradient():
    scores, labels = drawn((2, 3, 4, 4))
    scores.requires_grad_()
    segmentation_loss(merge_unknown(scores, torch.tensor([[True, False], [False, False]])), labels * 0).backward()
    assert torch.isfinite(scores.grad).all()


@pytest.fixture
def learner(toy) -> Learner:
    torch.manual_seed(0)
    return Learner(AdaptedNetwork(toy, 2), 1e-2)


def test_a_few_steps_lower_the_loss(learner):
    scan = disc_scan()
    images = with_neighbours(scan.images, scan.showing)
    losses = [learner.step(images, scan.labels[scan.showing], 0.0) for _ in range(12)]
    assert losses[-1] < 0.7 * losses[0]
    weights = learner.network.state_dict()
    assert any(not torch.equal(learner.average[key], value) for key, value in weights.items())


def test_frozen_norms_keep_their_statistics(toy):
    scan = disc_scan()
    images = with_neighbours(scan.images, scan.showing)
    for frozen in (True, False):
        learner = Learner(AdaptedNetwork(toy, 2), 1e-2, frozen_norms=frozen)
        before = {key: value.clone() for key, value in learner.network.state_dict().items()}
        learner.step(images, scan.labels[scan.showing], 0.0)
        after = learner.network.state_dict()
        moved = {key for key, value in after.items() if not torch.equal(before[key], value)}
        assert any("running_mean" in key for key in moved) != frozen
        assert any(key.endswith("weight") for key in moved)


def test_a_state_goes_on_as_it_would_have(learner, toy):
    scan = disc_scan()
    images, labels = with_neighbours(scan.images, scan.showing), scan.labels[scan.showing]
    learner.step(images, labels, 0.0)
    other = Learner(AdaptedNetwork(toy, 2), 1e-2)
    other.load(deepcopy(learner.state()))
    for one in (learner, other):
        one.step(images, labels, 0.5)
    assert all(torch.equal(value, other.average[key]) for key, value in learner.average.items())
