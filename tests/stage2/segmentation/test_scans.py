"""Segmenting a scan against plain loops, and the reverse segmentation against what it must say."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from Stage2.datasets.folds import support_slices
from Stage2.segmentation.matching import place_slices
from Stage2.segmentation.method import Method
from Stage2.segmentation.scans import (
    PreparedScan,
    encode_slices,
    label_map,
    organ_probability,
    reverse_dice,
    segment_slices,
    support_slices_of,
)  # fmt: skip

SIZE = (64, 64)  # the network is fully convolutional: 8 x 8 features


def drawn(seed: int, depth: int = 9) -> tuple[np.ndarray, np.ndarray]:
    """Slices (Z, 64, 64) float32 that change along z, and a label 5 in the middle ones."""
    rng = np.random.default_rng(seed)
    row, column = np.ogrid[:64, :64]
    z = np.arange(depth)[:, None, None]
    label = ((row - 30) ** 2 + (column - 20 - z) ** 2 < 15**2) & (z >= 2) & (z < depth - 2)
    image = 1.5 * label + 0.02 * z * column + 0.05 * (8 - z) * (row > 20) + rng.normal(0, 0.1, label.shape)
    return image.astype(np.float32), label


@pytest.fixture(scope="module")
def scans(network) -> list[PreparedScan]:
    prepared = []
    for seed in range(3):
        image, label = drawn(seed, depth=9 + seed)
        prepared.append(PreparedScan(str(seed), encode_slices(network.model, image), (1, 7), {5: label}))
    return prepared


@torch.no_grad()
@pytest.mark.parametrize("matching", ["similarity", "position"])
@pytest.mark.parametrize("n_supports", [1, 2])
def test_every_slice_is_segmented_by_the_part_that_it_lies_nearest_to(network, scans, matching, n_supports):
    """Against a plain loop, slice by slice."""
    model, query, supports = network.model, scans[2], scans[:n_supports]
    found = organ_probability(model, query, supports, 5, Method(matching, margin=None, slices_at_once=2), SIZE)
    chosen = [support_slices(scan.slices_with(5), 3) for scan in supports]
    places = [place_slices(matching, query.features, one.features, query.extent, one.extent) for one in supports]
    for z in range(len(query.features)):
        nearest = [np.abs(at[z] - np.array(own)).argmin() for at, own in zip(places, chosen, strict=True)]
        part = int(np.mean(nearest) + 0.5)
        shown = [(scan, own[part]) for scan, own in zip(supports, chosen, strict=True)]
        features = torch.stack([scan.features[s] for scan, s in shown])
        masks = torch.stack([torch.from_numpy(scan.masks[5][s]) for scan, s in shown])
        prototypes = model.prototypes(features, masks.float(), 1 - masks.float(), 2)
        scores = model.scores(query.features[z : z + 1], prototypes)
        logits = torch.nn.functional.interpolate(scores, SIZE, mode="bilinear")[0]
        np.testing.assert_allclose(found[z], logits.softmax(dim=0)[1].numpy(), atol=1e-5)
    assert 0 < (found > 0.5).mean() < 1


def test_a_voxel_is_organ_exactly_where_organ_scores_higher():
    """Also where the sigmoid of the difference rounds to 0.5."""

    class Scores(torch.nn.Module):
        def logits(self, features, prototypes, size):
            return torch.stack([torch.zeros(1, 2, 2), torch.tensor([[[1e-9, -1e-9], [0.0, 3.0]]])], dim=1)

    found = segment_slices(Scores(), torch.zeros(1, 1), [None], np.array([0]), (2, 2))
    assert (found > 0.5).tolist() == [[[True, False], [False, True]]]


def test_support_slices_have_enough_pixels_if_any_have(scans):
    scan = scans[0]
    areas = scan.masks[5].sum(axis=(1, 2))
    largest = np.flatnonzero(areas == areas.max()).tolist()
    assert set(support_slices_of(scan, 5, Method(least_pixels=int(areas.max())))) <= set(largest)
    assert support_slices_of(scan, 5, Method(least_pixels=10**6)) == support_slices_of(scan, 5, Method())


def test_the_margin_leaves_far_slices_empty_and_changes_no_other(network, scans):
    everywhere, near = (
        organ_probability(network.model, scans[0], scans[1:2], 5, Method(margin=margin), SIZE) for margin in (None, 0)
    )
    looked_at = near.any(axis=(1, 2))
    assert 0 < looked_at.sum() < len(near)
    np.testing.assert_array_equal(near[looked_at], everywhere[looked_at])


def test_the_batch_of_slices_changes_nothing(network, scans):
    results = [
        organ_probability(network.model, scans[0], scans[1:], 5, Method(slices_at_once=count), SIZE)
        for count in (1, 20)
    ]
    np.testing.assert_allclose(*results, atol=1e-5)


def test_the_label_map_is_the_most_probable_label_above_one_half():
    rng = np.random.default_rng(0)
    probabilities = {label: rng.random((2, 5, 6)).astype(np.float32) for label in (300, 2, 7)}
    labels = label_map(probabilities)
    assert labels.dtype == np.uint16
    for place in np.ndindex(labels.shape):
        values = {label: volume[place] for label, volume in probabilities.items() if volume[place] > 0.5}
        assert labels[place] == (max(values, key=values.get) if values else 0)


def test_confidence_is_high_for_the_right_mask_and_low_for_a_wrong_one(network, scans):
    query, supports = scans[1], scans[:1]
    shifted = replace(query, masks={5: np.roll(query.masks[5], (28, 25), axis=(1, 2))})
    empty = replace(query, masks={5: np.zeros_like(query.masks[5])})
    full = replace(query, masks={5: np.ones_like(query.masks[5])})
    right, wrong, none, whole = (
        reverse_dice(network.model, scan, supports, 5, Method(), SIZE) for scan in (query, shifted, empty, full)
    )
    assert right > 0.6
    assert wrong < right - 0.2
    assert none == 0
    assert whole == 0  # no background to tell it from
