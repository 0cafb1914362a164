"""The segmenter with its optimiser and schedule: one step, and everything that a resumed training needs on disk."""

import logging
import math
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, optim

from Stage1.weights.checkpoints import read_checkpoint, write_checkpoint
from Stage2.models.few_shot import FewShotSegmenter
from Stage2.optimisation.average import copy_of, move_average
from Stage2.optimisation.state import TrainingState

DECAY_EVERY = 1000  # optimiser steps
MOMENTUM = 0.9
WEIGHT_DECAY = 5e-4

logger = logging.getLogger(__name__)


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
    average: dict[str, Tensor] | None = field(init=False, default=None)
    shown: dict[str, Tensor] | None = field(init=False, default=None, repr=False)

    def __post_init__(self):
        parameters = self.model.trained_parameters()
        self.optimiser = optim.SGD(parameters, lr=self.learning_rate, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY)
        self.schedule = optim.lr_scheduler.StepLR(self.optimiser, step_size=DECAY_EVERY, gamma=self.decay)
        self.scaler = torch.amp.GradScaler(parameters[0].device.type, enabled=self.model.precision == "fp16")
        if self.ema_decay:
            self.average = copy_of(self.model)

    def take_step(self, *episodes: dict[str, Tensor], **loss_options: Any) -> dict[str, float]:
        """One optimiser step on the mean loss of one or more episodes; degenerate ones among several are counted.

        Args:
            *episodes: see `Stage2.datasets.episodes.as_episode`.
            **loss_options: `window`, `align`, `weigh_classes` of `FewShotSegmenter.training_losses`.

        Returns:
            query_loss, align_loss and other losses of the head, total_loss, and the learning rate of this step as lr.

        Raises:
            DegenerateEpisodeError: none of the episodes can be learnt from; weights and optimiser are as before.
            ValueError: a loss, or a weight after the step, is not finite. A step that a float16 gradient made void is
                no such case.
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
        names = [name for name in usable[0] if name.endswith("_loss")]
        losses = {name: torch.stack([of_one[name] for of_one in usable]).mean() for name in names}
        total = sum(losses.values())
        scalars = {**{name: loss.item() for name, loss in losses.items()}, "total_loss": total.item()}
        for name, value in scalars.items():
            if not math.isfinite(value):
                raise self._diverged(f"{name} is {value}")
        self.optimiser.zero_grad(set_to_none=True)
        self.scaler.scale(total).backward()
        self.scaler.step(self.optimiser)  # nothing but a smaller scale, where a float16 gradient overflowed
        self.scaler.update()
        rate = self.schedule.get_last_lr()[0]
        self.schedule.step()
        self._check_weights()
        if self.average is not None:
            move_average(self.average, self.model.state_dict(), self.ema_decay)
        return {**scalars, "lr": rate}

    def _check_weights(self) -> None:
        state = {name: value for name, value in self.model.state_dict().items() if value.is_floating_point()}
        if not torch.nn.utils.get_total_norm(state.values(), norm_type=math.inf).isfinite():
            name = next(name for name, value in state.items() if not value.isfinite().all())
            raise self._diverged(f"the weights {name} are not finite")

    def _diverged(self, what: str) -> ValueError:
        half = " or precision=fp32" if self.model.precision != "fp32" else ""
        return ValueError(
            f"step {self.state.step + 1}: {what}: the training has diverged and stops; nothing of it is kept. Train "
            f"anew with a smaller optim.lr (it is {self.schedule.get_last_lr()[0]:g}){half}; check the images and the "
            "starting weights."
        )

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

    def restore(self, path: Path, identity: dict[str, Any], newer: Collection[str] = ()) -> None:
        """Go on from what `save` wrote.

        Args:
            path: of the file.
            identity: of the experiment.
            newer: what of the identity older files lack; that passes, with a warning.

        Raises:
            FileNotFoundError, ValueError: the file cannot be read, or belongs to another experiment.
        """
        content = read_checkpoint(path)
        try:
            self._check_identity(path, content["identity"], identity, newer)
            self.model.load_state_dict(content["model"])
            self.optimiser.load_state_dict(content["optimiser"])
            self.schedule.load_state_dict(content["schedule"])
            if self.scaler.is_enabled():
                self.scaler.load_state_dict(content["scaler"])
            if self.average is not None:
                for key, value in content["average"].items():
                    self.average[key].copy_(value)
            self.state = TrainingState(**content["state"])
        except (AttributeError, KeyError, RuntimeError, TypeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise ValueError(f"{path} is no state of this training ({reason}); train anew, without resume.") from error
        threads = content.get("threads", torch.get_num_threads())
        if threads != torch.get_num_threads():
            logger.warning(
                "%s was written with %d threads, here are %d (OMP_NUM_THREADS, MKL_NUM_THREADS): sums are rounded "
                "differently, so the end may differ from an uninterrupted run's.",
                path, threads, torch.get_num_threads(),
            )  # fmt: skip

    def _check_identity(
        self, path: Path, there: dict[str, Any], here: dict[str, Any], newer: Collection[str]
    ) -> None:  # fmt: skip
        untold = [key for key in newer if key in here and key not in there]
        if untold:
            logger.warning("%s is of an earlier version and does not tell %s: not compared", path, ", ".join(untold))
        differing = [
            f"{key}={there.get(key, 'default')!r} there, {here.get(key, 'default')!r} here"
            for key in {**here, **there}
            if key not in untold and there.get(key) != here.get(key)
        ]
        if differing:
            raise ValueError(
                f"{path} belongs to another experiment ({'; '.join(differing)}); resume with its settings."
            )
