"""The loop of a training: episodes in, optimiser steps, and what happens every so many of them."""

import logging
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from typing import Any

from torch import Tensor
from tqdm import tqdm

from Stage2.datasets.episodes import FineTuningEpisodes, PseudoLabelEpisodes, stream_episodes
from Stage2.models.alp import DegenerateEpisodeError
from Stage2.models.few_shot import FewShotSegmenter
from Stage2.optimisation.training import Training

DEGENERATE_LIMIT = 1000  # in a row: the weights no longer change, and nothing would ever change them

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Cadence:
    """How long a training is, and how many steps lie between what happens in it; 0: never.

    Attributes:
        n_steps: optimiser steps in all, those of an interrupted run included.
        report: each report is the mean since the last; there is one of the last step.
        snapshot: there is always one of the last step.
        evaluate: tests of the model as it is; there is also one of every snapshot.
        picture: there is also one of every snapshot.
    """

    n_steps: int
    report: int = 100
    snapshot: int = 25_000
    evaluate: int = 0
    picture: int = 0


class Listener:
    """What a training tells and asks, all of it optional. Nothing of it may change the training."""

    def on_report(self, step: int, scalars: Mapping[str, float]) -> None:
        """Mean scalars since the last report, or those of an evaluation."""

    def on_snapshot(self, training: Training) -> None:
        """The weights as they are should be kept."""

    def on_picture(self, step: int, episode: Mapping[str, Tensor]) -> None:
        """Tensors of an episode of this step with its "logits"."""

    def evaluate(self, model: FewShotSegmenter) -> dict[str, float]:
        """Tests the model; returns scalars to report."""
        return {}

    def stop_asked(self) -> bool:
        """Whether the training is to end where it is; asked before every step, and while one waits for episodes."""
        return False


def train(
    training: Training,
    episodes: PseudoLabelEpisodes | FineTuningEpisodes,
    cadence: Cadence,
    listener: Listener,
    *,
    n_workers: int = 0,
    batch_size: int = 1,
    **loss_options: Any,
) -> bool:
    """Train until all steps are done or the listener asks to stop.

    Args:
        training: the model with its optimiser, at its start or restored.
        episodes: where episodes come from.
        cadence: length, and when what happens.
        listener: hears of it.
        n_workers: processes that prepare episodes; the result does not depend on it.
        batch_size: episodes of a step.
        **loss_options: see `Training.take_step`.

    Returns:
        whether all steps are done.

    Raises:
        ValueError: the training has collapsed, or a loss or weight is no longer finite.
    """
    state = training.state
    first_step, started = state.step, time.monotonic()
    if state.step >= cadence.n_steps:
        logger.info("nothing to do: %d of %d steps are done", state.step, cadence.n_steps)
        return True
    with (
        closing(stream_episodes(episodes, n_workers, state.episode, listener.stop_asked)) as stream,
        tqdm(total=cadence.n_steps, initial=first_step, unit="step", dynamic_ncols=True, mininterval=1.0) as progress,
    ):
        while state.step < cadence.n_steps and not listener.stop_asked():
            batch = list(islice(stream, batch_size))
            if len(batch) < batch_size:
                break  # stopped while it waited for an episode
            state.episode = batch[-1][0] + 1
            try:
                state.add_step(training.take_step(*(episode for _, episode in batch), **loss_options))
            except DegenerateEpisodeError as error:
                state.add_degenerate(batch_size)
                logger.debug("episode %d left out: %s", state.episode - 1, error)
                if state.degenerate_in_a_row >= DEGENERATE_LIMIT:
                    raise ValueError(
                        f"{state.degenerate_in_a_row} episodes in a row had no background prototype (the query is "
                        "predicted all foreground): the training has collapsed; lower the learning rate or start from "
                        "other weights."
                    ) from error
                continue
            progress.update()
            if means := tell(training, cadence, listener):
                progress.set_postfix({name: f"{means[name]:.4f}" for name in means if name.endswith("_loss")})
    seconds, steps = time.monotonic() - started, state.step - first_step
    logger.info(
        "%d steps in %.0f s (%.2f s per step), %d degenerate episodes left out",
        steps, seconds, seconds / max(steps, 1), state.degenerate,
    )  # fmt: skip
    return state.step == cadence.n_steps


def tell(training: Training, cadence: Cadence, listener: Listener) -> dict[str, float] | None:
    """What is due after a step: a report, which is returned, a picture, an evaluation, a snapshot, in this order."""
    state, means = training.state, None
    last = state.step == cadence.n_steps

    def due(every: int) -> bool:
        return every > 0 and (last or state.step % every == 0)

    def note(scalars: dict[str, float]) -> None:
        if (state.step, scalars) in state.scalars:
            return  # told before the training was stopped at this step
        state.scalars.append((state.step, scalars))
        listener.on_report(state.step, scalars)

    kept = due(cadence.snapshot)
    if due(cadence.report) and state.unreported:
        means = state.take_means()
        note(means)
    if cadence.picture and (kept or due(cadence.picture)) and training.shown is not None:
        listener.on_picture(state.step, training.shown)
    if cadence.evaluate and (kept or due(cadence.evaluate)):
        note(listener.evaluate(training.model))
    if kept:
        listener.on_snapshot(training)
    return means
