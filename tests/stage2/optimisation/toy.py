"""A small training: ResNet-18, or the toy encoder, on slices of 64 px."""

import numpy as np
import torch

from Stage2.datasets.episodes import SuperpixelEpisodes
from Stage2.datasets.volumes import Scan
from Stage2.models.few_shot import FewShotSegmenter
from Stage2.optimisation.loop import Cadence, Listener, train
from Stage2.optimisation.training import Training

OPTIONS = {"window": 2, "align": True, "weigh_classes": True}


class Notes(Listener):
    """Notes what it hears: (step, scalars) of reports, steps of snapshots."""

    def __init__(self):
        self.reports, self.snapshots = [], []

    def on_report(self, step, scalars):
        self.reports.append((step, scalars))

    def on_snapshot(self, training):
        self.snapshots.append(training.state.step)


def toy_episodes(seed: int = 0) -> SuperpixelEpisodes:
    """Slices of 64 px: one bright and one dark square on noise, each a superpixel."""
    rng = np.random.default_rng(0)
    superpixels = np.zeros((4, 64, 64), dtype=np.int32)
    superpixels[:, 8:30, 8:30] = 1
    superpixels[:, 34:58, 30:56] = 2
    image = rng.normal(0, 0.3, (4, 64, 64)) + np.array([0, 3, -3])[superpixels]
    return SuperpixelEpisodes([Scan("1", image.astype(np.float32), superpixels=superpixels)], excluded={}, seed=seed)


def new_training(
    seed: int = 0, rate: float = 1e-3, precision: str = "fp32", encoder: str = "dlfcn_res18"
) -> Training:
    torch.manual_seed(seed)
    return Training(FewShotSegmenter(encoder, precision=precision), learning_rate=rate, decay=0.95)


def run(training: Training, n_steps: int, n_workers: int = 0, snapshot_every: int = 1000) -> Notes:
    """Train on the toy episodes with a report of every step."""
    notes = Notes()
    cadence = Cadence(n_steps, report=1, snapshot=snapshot_every)
    train(training, toy_episodes(), cadence, notes, n_workers=n_workers, **OPTIONS)
    return notes


def assert_same_weights(first, second):
    for (name, one), other in zip(first.state_dict().items(), second.state_dict().values(), strict=True):
        assert torch.equal(one, other), name
