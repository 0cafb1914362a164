"""Signs of a mask lie in their ranges; the lower bound is that of split conformal prediction."""

import math

import pytest
import torch
from stage2.adaptation.discs import disc_scan

from Stage2.adaptation.confidence import SIGNS, Reference, combine, confidence_of, lower_bound, signs_of
from Stage2.adaptation.inference import organ_shares
from Stage2.adaptation.network import AdaptedNetwork

REFERENCE = Reference(((1.0, 2.0), (0.5, 4.0)))


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
    signs = signs_of(network, images, organ_shares(network, images), REFERENCE, 0.001)
    for own in signs:
        assert tuple(own) == SIGNS
        assert all(0 <= own[name] <= 1 for name in SIGNS[:3])
        assert 0 <= own["volume"] <= 3
        assert own["agreement"] > 0.5
    assert all(0 < one < 1 for one in map(combine, signs))


def test_what_is_not_found_is_not_trusted(network):
    images = disc_scan(side=64).images.clamp(min=0)
    found = confidence_of(network, images, organ_shares(network, images), REFERENCE, 0.001)
    assert found[0] > 0
    assert found[1] == 0
    nothing = torch.zeros(2, 64, 64)
    assert confidence_of(network, nothing, organ_shares(network, nothing), REFERENCE, 0.001) == [0, 0]


@pytest.mark.parametrize(("count", "beyond"), [(1500, 0.0), (4000, math.log(2)), (500, math.log(2)), (1, 3.0)])
def test_volume_counts_beyond_that_of_the_examples(network, count, beyond):
    labels = torch.zeros(1, 64, 64, dtype=torch.int64)
    labels.flatten()[:count] = 1
    shares = torch.nn.functional.one_hot(labels, 3).permute(0, 3, 1, 2).float()
    signs = signs_of(network, torch.randn(1, 64, 64), shares, REFERENCE, 0.001)
    assert signs[0]["volume"] == pytest.approx(beyond)
    assert signs[0]["sureness"] == 1
    assert signs[0]["piece"] == 1
    assert signs[1] is None


def test_surer_is_more_and_further_off_is_less():
    signs = dict(zip(SIGNS, (0.9, 0.8, 1.0, 0.0), strict=True))
    assert combine(None) == 0
    for name in SIGNS[:3]:
        assert combine(signs | {name: 0.2}) < combine(signs)
    assert combine(signs | {"volume": 2.0}) < combine(signs)


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
    reference = Reference(((1.0, 2.0),), ((0.1, 0.2),))
    assert Reference.of(reference.as_plain()) == reference
    for damaged in ({}, {"volumes": 3, "errors": []}, {"volumes": [[1]], "errors": []}):
        with pytest.raises((KeyError, TypeError, ValueError)):
            Reference.of(damaged)
