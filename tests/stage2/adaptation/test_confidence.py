"""Signs of a mask lie in their ranges; the lower bound is that of split conformal prediction."""

import math

import numpy as np
import pytest
import torch
from stage2.adaptation.discs import disc_scan

from Stage2.adaptation.confidence import (
    SIGNS,
    Reference,
    beyond,
    combine,
    confidence_of,
    lower_bound,
    signs_of,
    spread_of,
)
from Stage2.adaptation.inference import organ_shares
from Stage2.adaptation.network import AdaptedNetwork

REFERENCE = Reference(((1.0, 2.0), (0.5, 4.0)))
SPACING = (1.0, 1.0, 1.0)  # a voxel is a thousandth of a millilitre


class ByBrightness(AdaptedNetwork):
    """Finds the bright discs, organ 1, and the dark ones, organ 2, in any size of image."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        middle = images[:, 1]
        return torch.stack([torch.full_like(middle, 3.0), 5 * middle, -8 * middle], dim=1)


@pytest.fixture
def network(toy) -> AdaptedNetwork:
    return ByBrightness(toy, 2).eval()


def test_signs_are_in_range(network):
    images = disc_scan(side=64).images
    signs = signs_of(network, images, organ_shares(network, images), REFERENCE, SPACING)
    for own in signs:
        assert tuple(own) == SIGNS
        assert all(0 <= own[name] <= 1 for name in SIGNS[:3])
        assert 0 <= own["volume"] <= 3
        assert own["shape"] == 0  # a reference without spreads, as in older files
        assert own["agreement"] > 0.5
    assert all(0 < one < 1 for one in map(combine, signs))


def test_what_is_not_found_is_not_trusted(network):
    images = disc_scan(side=64).images.clamp(min=0)
    found = confidence_of(network, images, organ_shares(network, images), REFERENCE, SPACING)
    assert found[0] > 0
    assert found[1] == 0
    nothing = torch.zeros(2, 64, 64)
    assert confidence_of(network, nothing, organ_shares(network, nothing), REFERENCE, SPACING) == [0, 0]


@pytest.mark.parametrize(("count", "expected"), [(1500, 0.0), (4000, math.log(2)), (500, math.log(2)), (1, 3.0)])
def test_volume_counts_beyond_that_of_the_examples(network, count, expected):
    labels = torch.zeros(1, 64, 64, dtype=torch.int64)
    labels.flatten()[:count] = 1
    shares = torch.nn.functional.one_hot(labels, 3).permute(0, 3, 1, 2).float()
    signs = signs_of(network, torch.randn(1, 64, 64), shares, REFERENCE, SPACING)
    assert signs[0]["volume"] == pytest.approx(expected)
    assert signs[0]["sureness"] == 1
    assert signs[0]["piece"] == 1
    assert signs[1] is None


@pytest.mark.parametrize("seed", range(3))
def test_spread_is_that_of_the_voxels_one_by_one(seed):
    mask = np.random.default_rng(seed).random((5, 7, 6)) < 0.2
    spacing = (7.7, 2.5, 1.5)
    for axis, spread in enumerate(spread_of(mask, spacing)):
        ends = [place[axis] + end for place in np.argwhere(mask) for end in (np.arange(100) - 49.5) / 100]
        assert spread == pytest.approx(spacing[axis] * np.std(ends), rel=1e-4)


def test_a_mask_of_the_same_volume_but_drawn_out_is_of_another_shape(network):
    block, line = (torch.zeros(4, 64, 64, dtype=torch.int64) for _ in range(2))
    block[:, 20:30, 20:30], line[1:3, 20:30, 20:40] = 1, 1
    limits = tuple((own, own) for own in spread_of((block == 1).numpy(), SPACING))
    reference = Reference(((0.4, 0.4),), spreads=(limits,))
    found = []
    for labels in (block, line):
        shares = torch.nn.functional.one_hot(labels, 3).permute(0, 3, 1, 2).float()
        found.append(signs_of(network, torch.randn(4, 64, 64), shares, reference, SPACING)[0])
    assert [own["volume"] for own in found] == [0, 0]
    assert found[0]["shape"] == 0
    assert found[1]["shape"] == pytest.approx(2 * math.log(2))  # half the slices, twice the columns


def test_a_value_is_beyond_a_range_by_a_ratio():
    assert [beyond(value, 2.0, 4.0) for value in (1.0, 2.0, 3.0, 4.0, 8.0)] == pytest.approx(
        [math.log(2), 0, 0, 0, math.log(2)]
    )


def test_surer_is_more_and_further_off_is_less():
    signs = dict(zip(SIGNS, (0.9, 0.8, 1.0, 0.0, 0.0), strict=True))
    assert combine(None) == 0
    for name in SIGNS[:3]:
        assert combine(signs | {name: 0.2}) < combine(signs)
    for name in SIGNS[3:]:
        assert combine(signs | {name: 2.0}) < combine(signs)


@pytest.mark.parametrize("count", range(12))
@pytest.mark.parametrize("level", [0.1, 0.2, 0.5])
def test_the_lower_bound_is_that_of_a_naive_search(count, level):
    """The smallest of the errors that leaves a share of at least 1 - level of the n + 1 ranks at or below it."""
    errors = torch.randn(count, generator=torch.Generator().manual_seed(count)).mul(0.1).tolist()
    enough = [error for error in errors if sum(own <= error for own in errors) >= (1 - level) * (count + 1) - 1e-9]
    expected = max(0.0, 0.7 - min(enough)) if enough else None
    assert lower_bound(0.7, errors, level) == (None if expected is None else pytest.approx(expected))


def test_the_lower_bound_is_no_less_than_0():
    assert lower_bound(0.1, [0.5] * 9) == 0


def test_a_reference_comes_back_from_plain_values():
    reference = Reference(((1.0, 2.0),), ((0.1, 0.2),), (((1.0, 2.0), (3.0, 4.0), (5.0, 6.0)),))
    assert Reference.of(reference.as_plain()) == reference
    assert Reference.of({"volumes": [[1, 2]], "errors": []}) == Reference(((1.0, 2.0),))  # older files
    for damaged in ({}, {"volumes": 3, "errors": []}, {"volumes": [[1]], "errors": []}):
        with pytest.raises((KeyError, TypeError, ValueError)):
            Reference.of(damaged)
