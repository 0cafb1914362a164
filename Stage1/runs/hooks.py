"""Hooks of the Stage 1 run: it stops where it diverges, reports unreadable images and throughput, resumes exactly."""

import math
import random
from pathlib import Path

import numpy as np
import torch
from mmengine import dist
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from Stage1.datasets.radiographs import check_readable
from Stage1.files import whole_file

REPORT = "unreadable.txt"
STEPS_BETWEEN_REPORTS = 100


@HOOKS.register_module()
class FiniteHook(Hook):
    """Stops a run that has diverged, before anything of it is saved: at a loss or a weight that is not a finite number.

    Raises:
        ValueError: names the loss or weight, and the step.
    """

    REMEDY = (
        "the training has diverged and nothing of this step is saved; set a lower lr or precision=fp32, or go on from "
        "the last checkpoint with --auto-resume"
    )

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs: dict | None = None
    ) -> None:
        # MMEngine puts the sum, "loss", before its parts, which tell more.
        for name, value in sorted(outputs.items(), key=lambda output: output[0] == "loss"):
            if name.startswith("loss") and not math.isfinite(value := float(value.detach())):
                raise ValueError(
                    f"found {name} {value} at step {runner.iter + 1} (epoch {runner.epoch + 1}), expected a "
                    f"finite number: {self.REMEDY}"
                )

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        for name, tensor in checkpoint["state_dict"].items():
            if tensor.is_floating_point() and not torch.isfinite(tensor).all():
                step = checkpoint["meta"]["iter"]
                raise ValueError(f"found numbers that are not finite in {name} at step {step}: {self.REMEDY}")


@HOOKS.register_module()
class UnreadableImagesHook(Hook):
    """Lists images that could not be read in ``<work_dir>/unreadable.txt``, each once: path, tab, reason.

    Stops the run with a ValueError once they are more than :func:`Stage1.datasets.radiographs.check_readable` allows.
    """

    def before_train(self, runner: Runner) -> None:
        self.found: dict[int, str] = {}  # by this process
        self.listed: dict[int, str] = {}  # by all processes
        self.report = Path(runner.work_dir) / REPORT
        if runner.iter == 0:
            if dist.is_main_process():
                self.report.unlink(missing_ok=True)
        elif self.report.is_file():
            places = {str(path): index for index, path in enumerate(runner.train_dataloader.dataset.paths)}
            text = self.report.read_text(encoding="utf-8", errors="surrogateescape")
            lines = (line.rpartition("\t") for line in text.splitlines())
            self.listed = {places[path]: reason for path, _, reason in lines if path in places}

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs: dict | None = None
    ) -> None:
        self.found |= data_batch["data_samples"]["unreadable"]
        if self.every_n_inner_iters(batch_idx, STEPS_BETWEEN_REPORTS):
            self.write_report(runner)

    def after_train_epoch(self, runner: Runner) -> None:
        self.write_report(runner)

    def write_report(self, runner: Runner) -> None:
        """Joins what all processes found; every process takes part."""
        known = len(self.listed)
        for found in dist.all_gather_object(self.found):
            self.listed |= found
        if len(self.listed) == known:
            return
        dataset = runner.train_dataloader.dataset
        if dist.is_main_process():
            lines = (f"{dataset.paths[index]}\t{reason}\n" for index, reason in sorted(self.listed.items()))
            with whole_file(self.report) as temporary:  # names are bytes, of any encoding
                temporary.write_text("".join(lines), encoding="utf-8", errors="surrogateescape")
        runner.logger.warning(
            f"{len(self.listed)} of {len(dataset)} images could not be read so far and were replaced by the next "
            f"readable one; they are listed in {self.report}"
        )
        check_readable(self.listed, len(dataset), dataset)


@HOOKS.register_module()
class ThroughputHook(Hook):
    """Logs the images trained on per second, over all processes, as ``images_per_second``."""

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs: dict | None = None
    ) -> None:
        seconds = runner.message_hub.get_scalar("train/time").current()
        images = len(data_batch["inputs"]) * dist.get_world_size()
        runner.message_hub.update_scalar("train/images_per_second", images / seconds)


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
