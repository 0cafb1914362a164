"""Adapting a network to annotated scans: minutes or steps, resumable, the same again for the same seed and steps."""

import logging
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from Stage1.signals import signal_handlers
from Stage1.weights.checkpoints import read_checkpoint, write_checkpoint
from Stage2.adaptation.augmentation import change_geometry, change_intensities
from Stage2.adaptation.learner import Learner
from Stage2.adaptation.network import AdaptedNetwork
from Stage2.adaptation.self_training import pseudo_labels
from Stage2.adaptation.settings import RANDOM_START, AdaptationSettings
from Stage2.adaptation.start import is_whole_network
from Stage2.adaptation.working_grid import AnnotatedSlices, with_neighbours
from Stage2.optimisation.average import copy_of, move_average

RATE = 1e-3
KEEP_EVERY = 60.0  # seconds of processor time between states on disk
SHOWING = 0.8  # share of the slices of a step that show an organ
ROUNDS = (0.4, 0.7)  # shares of the budget at which unlabelled scans get pseudo-labels
PSEUDO = 0.5  # share of the slices of a step that have pseudo-labels, once there are some
START_SHARE = 0.3  # of the weights that a whole network starts from, in those that come of one annotated scan
FEWEST_STEPS = 5  # that a projection of the steps in the budget goes by

Place = tuple[AnnotatedSlices, int]  # a slice of a scan

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Progress:
    """Where an adaptation is: steps done, the loss of the last one, the share of the budget, seconds left (None: by
    steps, before some are done)."""

    steps: int
    loss: float
    share: float
    seconds_left: float | None


class Adaptation:
    """A network that learns the organs of annotated scans.

    Args:
        network: with its starting weights, on its device.
        start: what the weights come from: "random", or a file. Batch norms of a file keep their statistics; and of a
            whole network, whose decoder is known too, a share of the weights is kept.
        scans: annotated, on the working grid.
        unlabelled: scans whose labels nobody knows, (Z, S, S) each.
        settings: budget, seed and method.
    """

    def __init__(
        self, network: AdaptedNetwork, start: str | Path, scans: Sequence[AnnotatedSlices],
        unlabelled: Sequence[Tensor], settings: AdaptationSettings,
    ):  # fmt: skip
        self.settings, self.scans = settings, scans
        self.unlabelled = list(unlabelled) if settings.self_training else []
        network.to(memory_format=torch.channels_last)
        self.learner = Learner(network, RATE, frozen_norms=start != RANDOM_START)
        self.begun = copy_of(network) if is_whole_network(start) else None
        self.generator = torch.Generator().manual_seed(settings.seed)
        self.spent = 0.0  # seconds of processor time
        self.rounds = 0  # of self-training that are done
        self.pseudo: list[AnnotatedSlices] = []
        self._pseudo_showing: list[Place] = []
        self._annotated = [(scan, int(z)) for scan in scans for z in scan.annotated]
        self._showing = places_showing(scans)
        if not self._showing:
            raise ValueError("no annotated slice shows an organ; annotate one, or name other labels.")

    @property
    def share(self) -> float:
        """Of the budget that is used."""
        if self.settings.steps is not None:
            return self.learner.steps / self.settings.steps
        return self.spent / (60 * self.settings.minutes)

    def run(
        self, state_file: Path | None = None, identity: Mapping[str, Any] | None = None,
        report: Callable[[Progress], None] = lambda progress: None,
    ) -> bool:  # fmt: skip
        """Learn until the budget is used; returns whether it was, which an interruption (Ctrl-C) prevents.

        Args:
            state_file: where the state is kept on the way, and goes on from where it is of the same identity.
            identity: what decides the result, as plain values.
            report: called after every step.

        Raises:
            OSError: the state cannot be written.
            ValueError: the loss is no finite number any more.
        """
        identity = dict(identity or {})
        if state_file is not None and state_file.is_file():
            self._go_on(state_file, identity)
        start, kept = time.process_time() - self.spent, self.spent
        try:
            while self.share < 1:
                with _whole_step():
                    self._self_train()
                    images, labels, known = self._draw()
                    loss = self.learner.step(images, labels, self.share, known)
                    self.spent = time.process_time() - start
                if not math.isfinite(loss):
                    raise ValueError(
                        f"the loss is {loss} after {self.learner.steps} steps; check the values of the scans, what "
                        "normalises them, and the start, or start from another one."
                    )
                report(Progress(self.learner.steps, loss, min(self.share, 1.0), self._seconds_left()))
                if state_file is not None and self.spent - kept > KEEP_EVERY:
                    self._keep(state_file, identity)
                    kept = self.spent
        except KeyboardInterrupt:
            if state_file is not None:
                self._keep(state_file, identity)
            return False
        return True

    def weights(self) -> dict[str, Tensor]:
        """The moving average of the weights, with a share of those that a whole network started from.

        It takes back some of what is only so in the annotated scan; with more scans the share is smaller. Source of the
        idea: Wortsman et al., Robust fine-tuning of zero-shot models, CVPR 2022.
        """
        weights = {key: value.clone() for key, value in self.learner.average.items()}
        if self.begun is not None:
            move_average(weights, self.begun, 1 - START_SHARE / len(self.scans))
        return weights

    def adapted(self) -> AdaptedNetwork:
        """The network with its `weights`, in evaluation mode."""
        self.learner.network.load_state_dict(self.weights())
        return self.learner.network.eval()

    def _draw(self) -> tuple[Tensor, Tensor, Tensor]:
        """Slices of a step with their labels, changed at random, and the organs that are known in each."""
        count = self.settings.batch
        from_pseudo = int(count * PSEUDO) if self.pseudo else 0
        showing = max(1, round((count - from_pseudo) * SHOWING))
        chosen = self._some(self._showing, showing) + self._some(self._annotated, count - from_pseudo - showing)
        if from_pseudo:
            chosen += self._some(self._pseudo_showing, from_pseudo)
        images = torch.cat([with_neighbours(scan.images, torch.tensor([z])) for scan, z in chosen])
        labels = torch.stack([scan.labels[z] for scan, z in chosen])
        images, labels = change_geometry(images, labels, self.generator)
        known = torch.stack([scan.known[z] for scan, z in chosen])
        device = next(self.learner.network.parameters()).device
        return change_intensities(images, self.generator).to(device), labels.to(device), known.to(device)

    def _take(self, pseudo: list[AnnotatedSlices]) -> None:
        """Learn from these pseudo-labels from now on."""
        self.pseudo, self._pseudo_showing = pseudo, places_showing(pseudo)

    def _some(self, places: Sequence[Place], count: int) -> list[Place]:
        return [places[int(index)] for index in torch.randint(len(places), (count,), generator=self.generator)]

    def _self_train(self) -> None:
        """Give unlabelled scans new pseudo-labels where a round of it has come."""
        if not self.unlabelled or self.rounds == len(ROUNDS) or self.share < ROUNDS[self.rounds]:
            return
        self.rounds += 1
        network = self.learner.network
        own = {key: value.clone() for key, value in network.state_dict().items()}
        network.load_state_dict(self.learner.average)
        steps = self.learner.steps / max(self.share, 1e-6)
        self._take(pseudo_labels(network, self.unlabelled, round(steps * self.settings.batch), self.generator))
        network.load_state_dict(own)
        logger.info("self-training, round %d: %d slices", self.rounds, len(self._pseudo_showing))

    def _seconds_left(self) -> float | None:
        if self.settings.minutes is not None:
            return max(0.0, 60 * self.settings.minutes - self.spent)
        done = self.learner.steps
        return self.spent / done * (self.settings.steps - done) if done >= FEWEST_STEPS else None

    def _keep(self, state_file: Path, identity: Mapping[str, Any]) -> None:
        pseudo = [{"images": scan.images, "labels": scan.labels, "known": scan.known} for scan in self.pseudo]
        state = {
            "identity": dict(identity),
            "learner": self.learner.state(),
            "generator": self.generator.get_state(),
            "spent": self.spent,
            "rounds": self.rounds,
            "pseudo": {str(place): scan for place, scan in enumerate(pseudo)},
        }
        write_checkpoint(state, state_file)

    def _go_on(self, state_file: Path, identity: Mapping[str, Any]) -> None:
        try:
            content = read_checkpoint(state_file)
        except ValueError as error:
            logger.warning("the state is damaged, and the adaptation begins anew: %s", error)
            return
        if content.get("identity") != identity:
            logger.info("%s is of another adaptation; this one begins anew", state_file)
            return
        self.learner.load(content["learner"])
        self.generator.set_state(content["generator"])
        self.spent, self.rounds = content["spent"], content["rounds"]
        kept = content["pseudo"].items()
        self._take([AnnotatedSlices(f"unlabelled scan {place}", **own) for place, own in kept])
        logger.info("going on after step %d, %.0f s of processor time", self.learner.steps, self.spent)


def places_showing(scans: Sequence[AnnotatedSlices]) -> list[Place]:
    """All slices that show an organ."""
    return [(scan, int(z)) for scan in scans for z in scan.showing]


@contextmanager
def _whole_step() -> Iterator[None]:
    """Ctrl-C within it waits for its end, so that no half step is kept; a second one does not wait."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    pressed = []

    def note(number: int, frame: object) -> None:
        if pressed:
            raise KeyboardInterrupt
        pressed.append(number)

    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:  # ignored, or somebody else's
        yield
        return
    with signal_handlers({signal.SIGINT: note}):
        yield
    if pressed:
        raise KeyboardInterrupt
