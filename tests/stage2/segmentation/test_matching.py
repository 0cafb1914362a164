"""Slices are found again by their content, from a whole scan, a part of it, or a single slice."""

import numpy as np
import pytest
import torch

from Stage2.evaluation.clean_protocol import monotone_matching, slice_similarity
from Stage2.segmentation.matching import place_by_content, place_slices, within_organ


@pytest.fixture(scope="module")
def features() -> torch.Tensor:
    """(20, 6, 8, 8): slices that change steadily along z."""
    generator = torch.Generator().manual_seed(0)
    steps = torch.randn(20, 6, 8, 8, generator=generator)
    return steps.cumsum(dim=0) + 3


@pytest.mark.parametrize("chosen", [range(20), range(3, 15), range(6, 9), [11], [0]])
def test_slices_of_the_support_itself_are_found(features, chosen):
    chosen = list(chosen)
    found = place_by_content(features[chosen], features)
    if len(chosen) in (1, 3, 20):
        assert found.tolist() == chosen
    else:  # the mean of a part is not that of the whole
        assert np.abs(found - chosen).mean() < 1.5


def test_whole_scans_are_matched_as_in_the_clean_protocol(features):
    query = features[2:] + 0.3 * torch.randn(18, 6, 8, 8, generator=torch.Generator().manual_seed(1))
    expected = monotone_matching(slice_similarity(query, features))
    np.testing.assert_array_equal(place_slices("similarity", query, features, (0, 1), (0, 1)), expected)


def test_a_support_of_one_slice_takes_every_query_slice(features):
    assert place_by_content(features[:7], features[4:5]).tolist() == [0] * 7


def test_position_goes_by_the_extent_of_the_body(features):
    places = place_slices("position", features[:5], features, (1, 3), (10, 14))
    np.testing.assert_allclose(places, [8, 10, 12, 14, 16])


def test_the_organ_is_looked_for_in_its_range_and_a_margin():
    places = np.array([0, 3, 4, 5, 8, 9, 10])
    assert within_organ(places, [5, 7, 8], 1).tolist() == [False, False, True, True, True, True, False]
    assert within_organ(places, [5], 0).tolist() == [False, False, False, True, False, False, False]
