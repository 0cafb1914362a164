"""The benchmark compares like with like: the plain loop and ours give the same masks, counts and views."""

import cv2
import numpy as np
import pytest
import torch

from Stage2.benchmarks import stage2 as benchmark
from Stage2.datasets import augmentation
from Stage2.evaluation.metrics import overlap_counts


@pytest.fixture(autouse=True)
def small_slices(monkeypatch):
    monkeypatch.setattr(benchmark, "SLICE_SIZE", 64)


def test_the_published_loop_and_ours_give_the_same_masks_and_counts():
    model = benchmark.segmenter("dlfcn_res18", "fp32", channels_last=False).eval()
    arguments = (benchmark.drawn_scan("support", 3), benchmark.drawn_scan("query", 3, seed=1), benchmark.drawn_tasks(3))
    published = benchmark.published_testing(model, *arguments)
    ours = benchmark.batched_testing(model, *arguments)
    assert len(published) == len(ours) == 2
    for (mask, counts), (own_mask, own_counts) in zip(published, ours, strict=True):
        assert 0 < mask.mean() < 1
        assert (mask != own_mask).mean() < 1e-4  # a pixel may be a tie within rounding
        assert own_counts.predicted == pytest.approx(counts.predicted, abs=3)
        assert own_counts.target == counts.target


def test_counting_with_sets_is_counting():
    prediction, target = np.random.default_rng(0).random((2, 16, 16)) < 0.4
    assert benchmark.counted_with_sets(prediction, target) == overlap_counts(prediction, target)


def test_the_published_view_changes_a_slice_as_much_as_ours():
    scan = benchmark.drawn_scan("0", 1)
    mask = scan.label[0] == 1
    area, spread = {}, {}
    for name, view in (("published", benchmark.published_view), ("ours", augmentation.augment)):
        views = [view(scan.image[0], mask, np.random.default_rng(seed)) for seed in range(40)]
        area[name] = np.mean([changed.sum() for _, changed in views]) / mask.sum()
        spread[name] = np.mean([image.std() for image, _ in views])
        assert all(image.dtype == np.float32 and changed.dtype == bool for image, changed in views)
    assert area["published"] == pytest.approx(area["ours"], abs=0.03)
    assert spread["published"] == pytest.approx(spread["ours"], rel=0.03)


def test_everything_is_measured(monkeypatch):
    monkeypatch.setattr(benchmark, "SLICE_SIZE", 32)  # processors that lack bfloat16 take half a minute for 64
    monkeypatch.setattr(benchmark, "TRAINING_WINDOW", 2)
    threads = cv2.getNumThreads()
    testing, work = benchmark.measure_testing("dlfcn_res18", n_slices=3, repeats=1)
    assert testing.keys() == {"published", *benchmark.VARIANTS}
    assert work > 1e8
    training, work = benchmark.measure_training("dlfcn_res18", repeats=1)
    assert training.keys() == {"published", "fp32 channels-last", "bf16 channels-last"}
    assert work > 1e8
    episodes = benchmark.measure_episodes(2)
    assert episodes.keys() == {"published", "ours", "ours, of supervoxels"}
    for spent in (testing, training, episodes, benchmark.measure_counting(2, 1)):
        assert min(spent.values()) > 0
    assert cv2.getNumThreads() == threads
    assert torch.is_grad_enabled()
