"""Hooks of the Stage 1 run: unreadable images are reported, random states survive a resume."""

import random

import numpy as np
import torch
from mmengine import dist
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

NAMES_SHOWN = 5


@HOOKS.register_module()
class UnreadableImagesHook(Hook):
    """Counts the images of an epoch that could not be decoded, and logs their number and first names."""

    def before_train_epoch(self, runner: Runner) -> None:
        self.unreadable: list[int] = []

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs: dict | None = None
    ) -> None:
        samples = data_batch["data_samples"]
        self.unreadable += samples["index"][samples["unreadable"]].tolist()

    def after_train_epoch(self, runner: Runner) -> None:
        indices = sorted({index for part in dist.all_gather_object(self.unreadable) for index in part})
        if indices:
            paths = runner.train_dataloader.dataset.paths
            names = ", ".join(paths[index].name for index in indices[:NAMES_SHOWN])
            more = f" and {len(indices) - NAMES_SHOWN} more" if len(indices) > NAMES_SHOWN else ""
            runner.logger.warning(
                f"{len(indices)} of {len(paths)} images could not be read and were replaced by the next readable one: "
                f"{names}{more}"
            )


@HOOKS.register_module()
class RandomStateHook(Hook):
    """Stores the state of every random generator in each checkpoint and takes it up again on resume.

    The states are set when training starts, not when the checkpoint is read: building the rest of the run draws
    random numbers in between. Rank 0's states serve all ranks, as the seed does.
    """

    def __init__(self) -> None:
        self.resumed: dict | None = None

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        name, keys, position, has_gauss, cached_gaussian = np.random.get_state()  # noqa: NPY002 the global generator
        checkpoint["random_state"] = {
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
            "python": random.getstate(),
            "numpy": (name, keys.tolist(), position, has_gauss, cached_gaussian),
        }

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        self.resumed = checkpoint.get("random_state")

    def before_train(self, runner: Runner) -> None:
        if self.resumed is None:
            return
        torch.set_rng_state(self.resumed["torch"].cpu())
        cuda_states = [state.cpu() for state in self.resumed["cuda"]]
        if len(cuda_states) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all(cuda_states)
        version, internal, gauss = self.resumed["python"]
        random.setstate((version, tuple(internal), gauss))
        np.random.set_state(self.resumed["numpy"])  # noqa: NPY002
