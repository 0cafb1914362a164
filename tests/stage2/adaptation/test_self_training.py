"""Pseudo-labels are what the network is sure of, in one piece for each organ, within a budget of slices."""

import pytest
import torch
from torch import nn

from Stage2.adaptation.learner import IGNORED
from Stage2.adaptation.self_training import SHARE, pseudo_labels


class Reading(nn.Module):
    """Scores that follow the image: above 1 surely organ 1, below -1 surely background, unsure between."""

    def __init__(self):
        super().__init__()
        self.head = nn.Identity()
        self.head.members = [[0], [1]]
        self.factor = nn.Parameter(torch.tensor(2.0))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        middle = self.factor * images[:, 1]
        return torch.stack([-middle, middle], dim=1)


def scan(count: int = 3) -> torch.Tensor:
    """(Z, 32, 32): a large and a small bright piece, an unsure one, dark elsewhere."""
    images = torch.full((count, 32, 32), -2.0)
    images[:, 4:12, 4:12], images[:, 20:23, 20:23], images[:, 28:30, 2:5] = 2.0, 2.0, 0.05
    return images


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_unsure_pixels_and_smaller_pieces_are_unknown(generator):
    (found,) = pseudo_labels(Reading(), [scan()], 1000, generator)
    expected = torch.zeros(3, 32, 32, dtype=torch.int64)
    expected[:, 4:12, 4:12] = 1
    expected[:, 20:23, 20:23] = expected[:, 28:30, 2:5] = IGNORED
    assert torch.equal(found.labels, expected)
    assert found.known.shape == (3, 1) and found.known.all()
    assert found.showing.tolist() == [0, 1, 2]


def test_a_scan_that_shows_nothing_is_left_out(generator):
    assert pseudo_labels(Reading(), [scan() * 0 - 2], 1000, generator) == []


@pytest.mark.parametrize(("budget", "scans"), [(1, 1), (round(7 / SHARE), 2), (1000, 4)])
def test_no_more_scans_than_the_budget_has_slices_for(generator, budget, scans):
    found = pseudo_labels(Reading(), [scan() for _ in range(4)], budget, generator)
    assert len(found) == scans
