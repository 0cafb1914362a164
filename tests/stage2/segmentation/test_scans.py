"""The core against the clean protocol of the tests, and the reverse segmentation against what it must say."""

from dataclasses import replace

import numpy as np
import pytest

from Stage2.datasets.folds import support_slices
from Stage2.datasets.volumes import Scan
from Stage2.evaluation.clean_protocol import SliceMatcher, predict_scan
from Stage2.evaluation.protocol import ClassTask, encode_slices, support_prototypes
from Stage2.segmentation.scans import Method, PreparedScan, label_map, organ_probability, reverse_dice

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


@pytest.mark.parametrize("matching", ["similarity", "position"])
@pytest.mark.parametrize("n_supports", [1, 2])
def test_masks_are_those_of_the_clean_protocol(network, scans, matching, n_supports):
    supports = scans[:n_supports]
    query_image, _ = drawn(2, depth=11)
    task = ClassTask("organ", 5, {scan.name: support_slices(scan.slices_with(5), 3) for scan in supports}, {})
    annotated = [
        Scan(str(seed), *(array.astype(kind) for array, kind in zip(drawn(seed, 9 + seed), ("f4", "u1"), strict=True)))
        for seed in range(n_supports)
    ]
    for scan in annotated:
        scan.label[scan.label > 0] = 5
    prototypes = {"organ": support_prototypes(network.model, annotated, task, 2)}
    matcher = SliceMatcher(
        matching, {scan.name: scan.features for scan in supports}, {scan.name: scan.extent for scan in scans}
    )
    (expected,) = predict_scan(network.model, "2", query_image, [task], prototypes, matcher)
    probability = organ_probability(
        network.model, scans[2], supports, 5, Method(matching, margin=None, slices_at_once=2), SIZE
    )
    assert expected.any() and not expected.all()
    assert np.mean((probability > 0.5) != expected) < 1e-4  # features of other batches differ by rounding


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
