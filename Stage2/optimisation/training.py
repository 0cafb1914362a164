"""Training of the segmenter on a stream of episodes: optimiser, schedule, the loop, its state on disk."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import optim
from tqdm import tqdm

from Stage1.weights.checkpoints import read_checkpoint, write_checkpoint
from Stage2.datasets.episodes import FineTuningEpisodes, SuperpixelEpisodes, stream_episodes
from Stage2.models.alp import DegenerateEpisodeError
from Stage2.models.few_shot import FewShotSegmenter

DECAY_EVERY = 1000  # optimiser steps
MOMENTUM = 0.9
WEIGHT_DECAY = 5e-4
DEGENERATE_LIMIT = 1000  # in a row: the weights no longer change, and nothing would ever change them

logger = logging.getLogger(__name__)


@dataclass
class TrainingState:
    """Where a training stands; all that a resumed one needs besides the weights.

    Attributes:
        step: optimiser steps done.
        episode: episodes drawn; more than `step` where some were degenerate.
        degenerate: episodes left out because a support had no background prototype.
        scalars: (step, {name: value}) of every report so far.
        unreported: {name: value} of every step since the last report.
        degenerate_in_a_row: episodes left out since the last step.
    """

    step: int = 0
    episode: int = 0
    degenerate: int = 0
    scalars: list[tuple[int, dict[str, float]]] = field(default_factory=list)
    unreported: list[dict[str, float]] = field(default_factory=list)
    degenerate_in_a_row: int = 0


@dataclass
class Training:
    """A model with its optimiser, schedule and state.

    The published optimiser also holds the encoder's unused parameters; they have no gradient and never change, so ours
    leaves them out.

    Attributes:
        model: the segmenter, on its device.
        learning_rate: at the start.
        decay: factor on the learning rate every 1000 steps.
        ema_decay: of the moving average of the weights, below 1; 0: no average.
        average: the moving average, a state dict under the model's keys; None without one.
        shown: tensors of the (first) episode of the last step with its "logits", for pictures; None where one of
            several episodes was degenerate, so that it is not known which of them the logits belong to.
    """

    model: FewShotSegmenter
    learning_rate: float
    decay: float
    ema_decay: float = 0.0
    state: TrainingState = field(default_factory=TrainingState)
    optimiser: optim.SGD = field(init=False)
    scaler: torch.amp.GradScaler = field(init=False)  # keeps small gradients of float16 alive; idle otherwise
    schedule: optim.lr_scheduler.StepLR = field(init=False)
    average: dict[str, torch.Tensor] | None = field(init=False, default=None)
    shown: dict[str, torch.Tensor] | None = field(init=False, default=None, repr=False)

    def __post_init__(self):
        parameters = self.model.encoder.trained_parameters()
        self.optimiser = optim.SGD(parameters, lr=self.learning_rate, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY)
        self.schedule = optim.lr_scheduler.StepLR(self.optimiser, step_size=DECAY_EVERY, gamma=self.decay)
        self.scaler = torch.amp.GradScaler(parameters[0].device.type, enabled=self.model.precision == "fp16")
        if self.ema_decay:
            self.average = {key: value.detach().clone() for key, value in self.model.state_dict().items()}

    def take_step(self, *episodes: dict[str, torch.Tensor], **loss_options: Any) -> dict[str, float]:
        """One optimiser step on the mean loss of one or more episodes; degenerate ones among several are counted.

        Args:
            *episodes: see `Stage2.datasets.episodes.as_episode`.
            **loss_options: `window`, `align`, `weigh_classes` of `FewShotSegmenter.training_losses`.

        Returns:
            query_loss, align_loss, total_loss, and the learning rate of this step as lr.

        Raises:
            DegenerateEpisodeError: none of the episodes can be learnt from; weights and optimiser are as before.
        """
        device = next(self.model.parameters()).device
        self.model.train()
        batch = [{key: value.to(device) for key, value in episode.items()} for episode in episodes]
        if len(batch) == 1:
            usable = [self.model.training_losses(**batch[0], **loss_options)]
        else:
            usable = self.model.batch_losses(batch, **loss_options)
            self.state.degenerate += len(batch) - len(usable)
        whole = len(usable) == len(batch)
        self.shown = {**batch[0], "logits": usable[0]["logits"].detach()} if whole else None
        losses = {key: torch.stack([of_one[key] for of_one in usable]).mean() for key in ("query_loss", "align_loss")}
        total = losses["query_loss"] + losses["align_loss"]
        rate = self.schedule.get_last_lr()[0]
        self.optimiser.zero_grad(set_to_none=True)
        self.scaler.scale(total).backward()
        self.scaler.step(self.optimiser)  # nothing but a smaller scale, where a float16 gradient overflowed
        self.scaler.update()
        self.schedule.step()
        self._update_average()
        return {
            "query_loss": losses["query_loss"].item(),
            "align_loss": losses["align_loss"].item(),
            "total_loss": total.item(),
            "lr": rate,
        }

    @torch.no_grad()
    def _update_average(self) -> None:
        """Move the average towards the weights and batch-norm statistics; counters are copied."""
        if self.average is None:
            return
        for key, value in self.model.state_dict().items():
            if value.is_floating_point():
                self.average[key].lerp_(value, 1 - self.ema_decay)
            else:
                self.average[key].copy_(value)

    def run(
        self,
        episodes: SuperpixelEpisodes | FineTuningEpisodes,
        *,
        n_steps: int,
        n_workers: int,
        report_every: int,
        snapshot_every: int,
        on_report: Callable[[int, dict[str, float]], None],
        on_snapshot: Callable[["Training"], None],
        stop_asked: Callable[[], bool] = lambda: False,
        batch_size: int = 1,
        evaluate: Callable[[FewShotSegmenter], dict[str, float]] | None = None,
        evaluate_every: int = 1,
        on_picture: Callable[[int, dict[str, torch.Tensor]], None] | None = None,
        picture_every: int = 1,
        **loss_options: Any,
    ) -> bool:
        """Train until `n_steps` optimiser steps are done.

        Args:
            episodes: where they come from.
            n_steps: in all, those of an interrupted run included.
            n_workers: processes that prepare episodes; the result does not depend on it.
            report_every: steps between reports, each the mean since the last.
            snapshot_every: steps between snapshots; there is always one of the last step.
            on_report: called with step and mean scalars.
            on_snapshot: called when weights should be kept.
            stop_asked: called after every episode; True ends the training where it stands.
            batch_size: episodes of a step.
            evaluate: tests the model as it stands, and returns scalars to report; it must not change it.
            evaluate_every: steps between such tests; there is also one of every snapshot.
            on_picture: called with step and `shown` of it; it must not change them.
            picture_every: steps between such calls; there is also one for every snapshot.
            **loss_options: see `take_step`.

        Returns:
            whether all steps are done.
        """
        state = self.state
        if state.step >= n_steps:
            logger.info("nothing to do: %d of %d steps are done", state.step, n_steps)
            return True
        started = time.monotonic()
        first_step = state.step
        progress = tqdm(total=n_steps, initial=state.step, unit="step", dynamic_ncols=True, mininterval=1.0)
        try:
            stream = stream_episodes(episodes, n_workers, start=state.episode)
            while batch := list(islice(stream, batch_size)):
                number = batch[-1][0]
                state.episode = number + 1
                try:
                    state.unreported.append(self.take_step(*(episode for _, episode in batch), **loss_options))
                except DegenerateEpisodeError as error:
                    state.degenerate += len(batch)
                    state.degenerate_in_a_row += len(batch)
                    logger.debug("episode %d left out: %s", number, error)
                    if state.degenerate_in_a_row >= DEGENERATE_LIMIT:
                        raise ValueError(
                            f"{state.degenerate_in_a_row} episodes in a row had no background prototype (the query is "
                            "predicted all foreground): the training has collapsed; lower the learning rate or start "
                            "from other weights."
                        ) from error
                    if stop_asked():
                        break
                    continue
                state.degenerate_in_a_row = 0
                state.step += 1
                progress.update()
                if state.step % report_every == 0 or state.step == n_steps:
                    rows = state.unreported
                    means = {key: sum(row[key] for row in rows) / len(rows) for key in rows[0]}
                    means["degenerate_episodes"] = state.degenerate
                    state.unreported = []
                    self._note(means, on_report)
                    progress.set_postfix(query=f"{means['query_loss']:.4f}", align=f"{means['align_loss']:.4f}")
                kept = state.step % snapshot_every == 0 or state.step == n_steps
                pictured = kept or state.step % picture_every == 0
                if on_picture is not None and pictured and self.shown is not None:
                    on_picture(state.step, self.shown)
                if evaluate is not None and (kept or state.step % evaluate_every == 0):
                    self._note(evaluate(self.model), on_report)
                if kept:
                    on_snapshot(self)
                if state.step == n_steps or stop_asked():
                    break
        finally:
            progress.close()  # an error gets a line of its own
        seconds = time.monotonic() - started
        logger.info(
            "%d steps in %.0f s (%.2f s per step), %d degenerate episodes left out",
            state.step - first_step,
            seconds,
            seconds / max(state.step - first_step, 1),
            state.degenerate,
        )
        return state.step == n_steps

    def _note(self, scalars: dict[str, float], on_report: Callable[[int, dict[str, float]], None]) -> None:
        self.state.scalars.append((self.state.step, scalars))
        on_report(self.state.step, scalars)

    def save(self, path: Path, identity: dict[str, Any]) -> None:
        """Write everything a resumed run needs, atomically; `identity` says which experiment this is."""
        content = {
            "identity": identity,
            "state": dict(vars(self.state)),
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "schedule": self.schedule.state_dict(),
            "average": self.average,
            "scaler": self.scaler.state_dict(),
            "threads": torch.get_num_threads(),
        }
        write_checkpoint(content, path)

    def restore(self, path: Path, identity: dict[str, Any]) -> None:
        """Go on from what `save` wrote.

        Raises:
            ValueError: the file belongs to another experiment.
        """
        content = read_checkpoint(path)
        there = content["identity"]
        differing = [
            f"{key}={there.get(key, 'default')!r} there, {identity.get(key, 'default')!r} here"
            for key in {**identity, **there}
            if there.get(key) != identity.get(key)
        ]
        if differing:
            raise ValueError(
                f"{path} belongs to another experiment ({'; '.join(differing)}); resume with its settings."
            )
        self.model.load_state_dict(content["model"])
        self.optimiser.load_state_dict(content["optimiser"])
        self.schedule.load_state_dict(content["schedule"])
        if self.scaler.is_enabled():
            self.scaler.load_state_dict(content["scaler"])
        if self.average is not None:
            for key, value in content["average"].items():
                self.average[key].copy_(value)
        self.state = TrainingState(**content["state"])
        threads = content.get("threads", torch.get_num_threads())
        if threads != torch.get_num_threads():
            logger.warning(
                "%s was written with %d threads, here are %d (OMP_NUM_THREADS, MKL_NUM_THREADS): sums are rounded "
                "differently, so the end may differ from an uninterrupted run's.",
                path, threads, torch.get_num_threads(),
            )  # fmt: skip
