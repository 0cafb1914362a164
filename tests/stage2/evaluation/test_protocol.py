"""The paper protocol against the plain loop: support recomputed for every slice, one slice at a time."""

from functools import partial

import numpy as np
import pytest
import torch

from Stage2.datasets.episodes import three_channels
from Stage2.datasets.volumes import Scan
from Stage2.evaluation import protocol
from Stage2.evaluation.metrics import METRICS, compute_metrics
from Stage2.evaluation.protocol import ClassTask, evaluate_scan, parts_by_chunks, support_prototypes
from Stage2.models.few_shot import FewShotSegmenter

SIDE = 64


def scan_of(name: str, depth: int, seed: int) -> Scan:
    """Organ 2 in slices 1 to depth - 2, organ 3 in the last slice only."""
    rng = np.random.default_rng(seed)
    label = np.zeros((depth, SIDE, SIDE), dtype=np.uint8)
    label[1:-1, 8:40, 8:40] = 2
    label[-1, 30:62, 30:62] = 3
    image = rng.normal(0, 0.5, label.shape) + np.array([0, 0, 3, -3])[label]
    return Scan(name, image.astype(np.float32), label)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return FewShotSegmenter("dlfcn_res18").eval()


@pytest.fixture(scope="module")
def support():
    return scan_of("9", 5, seed=1)


@pytest.fixture(scope="module")
def query():
    return scan_of("1", 11, seed=2)


def task_of(ranges, n_parts=3):
    return ClassTask("RK", 2, support_slices={"9": [1, 2, 3][:n_parts]}, ranges=ranges)


@torch.no_grad()
def plain_loop(model, support, query, task, window):
    """Mask of every slice: support and query through the network together, slice by slice."""
    first, last = task.ranges[query.id]
    masks = []
    for z in range(len(query.image)):
        width = (last - first) / task.n_parts
        part = min(max(int((z - first) // width), 0), task.n_parts - 1) if width else 0
        support_z = task.support_slices[support.id][part]
        features = model.encode(three_channels(np.stack([support.image[support_z], query.image[z]])))
        foreground = torch.from_numpy(support.label[support_z][None] == task.label).float()
        prototypes = model.prototypes(features[:1], foreground, 1 - foreground, window)
        scores = torch.nn.functional.interpolate(model.scores(features[1:], prototypes), (SIDE, SIDE), mode="bilinear")
        masks.append((scores[0, 1] > scores[0, 0]).numpy())
    return np.stack(masks)


@pytest.mark.parametrize("n_parts", [1, 3])
@pytest.mark.parametrize("slices_at_once", [1, 4, 100])
def test_masks_equal_the_plain_loop(monkeypatch, model, support, query, n_parts, slices_at_once):
    for name in ("encode_slices", "segment_slices"):
        monkeypatch.setattr(protocol, name, partial(getattr(protocol, name), at_once=slices_at_once))
    task = task_of({"1": (1, 9)}, n_parts)
    prototypes = {"RK": support_prototypes(model, [support], task, window=2)}
    (result,) = evaluate_scan(model, query, [task], prototypes, z_margin=0)
    expected = plain_loop(model, support, query, task, window=2)
    assert 0.02 < expected.mean() < 0.98
    assert (result.mask != expected).mean() < 1e-3  # ties may fall either way in float32


@pytest.mark.parametrize("z_margin", [0, 1, 50])
def test_scores_count_the_class_range_and_the_margin(model, support, query, z_margin):
    task = task_of({"1": (4, 6)})
    prototypes = {"RK": support_prototypes(model, [support], task, window=2)}
    (result,) = evaluate_scan(model, query, [task], prototypes, z_margin=z_margin)
    intersection = predicted = target = 0
    for z in range(max(0, 4 - z_margin), min(10, 6 + z_margin) + 1):
        for row, truth in zip(result.mask[z], query.label[z] == 2, strict=True):
            intersection += int((row & truth).sum())
            predicted += int(row.sum())
            target += int(truth.sum())
    expected = [2 * intersection / (predicted + target), intersection / predicted, intersection / target]
    assert [result.scores[name] for name in ("dice", "precision", "recall")] == pytest.approx(expected)


def test_scan_without_the_class_has_no_mask_and_undefined_scores(model, support, query):
    task = task_of({})
    prototypes = {"RK": support_prototypes(model, [support], task, window=2)}
    (result,) = evaluate_scan(model, query, [task], prototypes, z_margin=0)
    assert result.mask is None and result.slice_range is None
    assert np.isnan(result.scores["dice"])


def test_support_without_background_is_named(model):
    full = Scan("9", np.zeros((4, SIDE, SIDE), dtype=np.float32), np.full((4, SIDE, SIDE), 2, dtype=np.uint8))
    with pytest.raises(ValueError, match=r"RK fills the whole support \(scan 9 slice 1\)"):
        support_prototypes(model, [full], task_of({"1": (0, 2)}), window=2)


@pytest.mark.parametrize("slices", [[1, 4, 2], [1, 2, 5]])
def test_support_slices_without_the_class_are_named(model, support, slices):
    """Slice 4 lacks class 2, and slice 5 does not exist: the class map is that of other labels."""
    task = ClassTask("RK", 2, support_slices={"9": slices}, ranges={})
    with pytest.raises(
        ValueError, match=rf"slice {max(slices)} of support scan 9 has no pixel of RK, against the class"
    ):
        support_prototypes(model, [support], task, window=2)


def test_nothing_of_the_query_label_but_its_range_reaches_the_mask(model, support, query):
    task = task_of({"1": (1, 9)})
    prototypes = {"RK": support_prototypes(model, [support], task, window=2)}
    other_label = Scan(query.id, query.image, np.roll(query.label, 17, axis=2))
    first, second = (evaluate_scan(model, scan, [task], prototypes, z_margin=0)[0] for scan in (query, other_label))
    np.testing.assert_array_equal(first.mask, second.mask)
    assert first.scores["dice"] != second.scores["dice"]


def test_the_full_volume_and_distances_stand_beside_unchanged_scores(model, support, query):
    task, spacing, metrics = task_of({"1": (4, 6)}), (7.7, 1.25, 1.25), list(METRICS)
    prototypes = {"RK": support_prototypes(model, [support], task, window=2)}
    (plain,) = evaluate_scan(model, query, [task], prototypes, z_margin=0)
    (full,) = evaluate_scan(model, query, [task], prototypes, full_volume=True, spacing=spacing, metrics=metrics)
    assert plain.scores == {name: full.scores[name] for name in plain.scores}
    assert list(full.scores) == metrics and plain.whole_scores is None
    target = query.label == 2
    assert full.scores == compute_metrics(full.mask[4:7], target[4:7], spacing)
    assert full.whole_scores == compute_metrics(full.mask, target, spacing) != full.scores


def test_a_scan_without_the_class_has_undefined_scores_everywhere(model, support, query):
    task = task_of({})
    prototypes = {"RK": support_prototypes(model, [support], task, window=2)}
    (result,) = evaluate_scan(model, query, [task], prototypes, full_volume=True, metrics=list(METRICS))
    assert np.isnan([*result.scores.values(), *result.whole_scores.values()]).all()


@torch.no_grad()
def plain_adnet(model, support, query, task, window):
    """Mask by ADNet's protocol: slices that show the class in chunks, each chunk with its own support slice."""
    shown = [z for z in range(len(query.label)) if (query.label[z] == task.label).any()]
    mask = np.zeros(query.label.shape, dtype=bool)
    for place, z in enumerate(shown):
        part = [place in range(p * len(shown) // 3, (p + 1) * len(shown) // 3) for p in range(3)].index(True)
        support_z = task.support_slices[support.id][part]
        features = model.encode(three_channels(np.stack([support.image[support_z], query.image[z]])))
        foreground = torch.from_numpy(support.label[support_z][None] == task.label).float()
        prototypes = model.prototypes(features[:1], foreground, 1 - foreground, window)
        scores = torch.nn.functional.interpolate(model.scores(features[1:], prototypes), (SIDE, SIDE), mode="bilinear")
        mask[z] = (scores[0, 1] > scores[0, 0]).numpy()
    return mask


def test_adnet_equals_its_plain_loop(model, support, query):
    label = query.label.copy()
    label[4:6][label[4:6] == 2] = 0  # a hole in the class's range
    query = Scan(query.id, query.image, label)
    task = task_of({"1": (1, 9)})
    prototypes = {"RK": support_prototypes(model, [support], task, window=2)}
    (result,) = evaluate_scan(model, query, [task], prototypes, parts_of=parts_by_chunks)
    expected = plain_adnet(model, support, query, task, window=2)
    assert expected.any() and (result.mask != expected).mean() < 1e-3
    assert not result.mask[[0, 4, 5, 10]].any()
    assert result.scores == compute_metrics(result.mask, label == 2, (1, 1, 1), result.scores)


def test_features_at_hand_give_the_same_masks(model, support, query):
    task = task_of({"1": (1, 9)})
    asked = []

    def encode(slices):
        asked.append(len(slices))
        return protocol.encode_slices(model, slices, layout=torch.contiguous_format)

    plain = {"RK": support_prototypes(model, [support], task, window=2)}
    at_hand = {"RK": support_prototypes(model, [support], task, window=2, encode=encode)}
    (expected,) = evaluate_scan(model, query, [task], plain)
    (found,) = evaluate_scan(model, query, [task], at_hand, encode=encode)
    assert (found.mask != expected.mask).mean() < 1e-3
    assert asked == [5, 5, 5, 11]
