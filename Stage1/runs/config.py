"""Config files of Stage 1: reading one with changed settings, and checking it against the data and the processes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, MODELS

from Stage1.datasets.radiographs import check_sample
from Stage1.datasets.views import RandomViews
from Stage1.models.pretext import PretextTask
from Stage1.runs import tasks  # noqa: F401 known by name to configs that import other modules, too
from Stage1.runs.settings import changes_of, dotted_paths, find_config, find_path

WHOLE = (  # what every whole config has, from its own file or from those that it builds on
    "model.type", "train_dataloader.batch_size", "train_dataloader.dataset.data_root", "train_cfg.max_epochs",
    "optim_wrapper.optimizer.lr", "param_scheduler", "auto_scale_lr.base_batch_size", "auto_scale_lr.enable",
    "randomness.seed", "env_cfg.dist_cfg",
)  # fmt: skip


def load_config(path: str | Path, options: dict[str, Any] | None = None) -> Config:
    """Reads a config file and changes settings in it.

    Args:
        path: of the config file, from the working directory or from the repository.
        options: new values by short name or by dotted path, as text or as they are.

    Raises:
        FileNotFoundError, ValueError: as find_config and changes_of, or the file is no config or no whole one.
    """
    path = find_config(path)
    try:
        cfg = Config.fromfile(path)
    except Exception as error:  # a config is a program
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"found {path}, a config file that cannot be read: {reason}; mend it") from error
    settings = dotted_paths(cfg)
    if missing := [part for part in WHOLE if part not in settings]:
        raise ValueError(
            f"found no {', '.join(missing)} in {path}, expected a whole config; give one of those below configs/selfsup"
        )
    cfg.merge_from_dict(changes_of(cfg, options or {}, path.name))
    if cfg.model.get("precision") == "fp16":  # gradients below its range vanish unless the loss is scaled
        cfg.optim_wrapper.type = "AmpOptimWrapper"
        cfg.optim_wrapper.dtype = "float16"
    dataset = cfg.train_dataloader.dataset
    dataset.data_root = str(find_path(dataset.data_root))
    return cfg


def check_data(cfg: Config, processes: int) -> None:
    """Fails early on what a run over this many processes would fail on later.

    Raises:
        FileNotFoundError, ValueError: no folder, no image, too many unreadable ones, fewer images than one batch, a
            schedule that does not fit the epochs, settings that make no views, half precision without a GPU, or what
            the pretext task refuses.
    """
    loader = cfg.train_dataloader
    batch = loader.batch_size * processes
    if batch < 1:
        raise ValueError(f"found batch_size {loader.batch_size}, expected at least 1; set batch_size=32")
    task = find_task(cfg.model.type)
    views = loader.dataset.get("views", task.views)
    if views != task.views:
        raise ValueError(f"found views={views}, expected {task.views} of an image for {cfg.model.type}; leave it out")
    RandomViews(**(loader.dataset.get("view") or {}))  # their sizes come before what a task needs them to be
    task.check_settings(cfg.model, loader.dataset.get("view") or {}, batch)
    if cfg.model.get("precision") == "fp16" and not torch.cuda.is_available():
        raise ValueError("found precision fp16 but no CUDA GPU, expected one; set precision=bf16 or precision=fp32")
    check_schedule(cfg.param_scheduler, cfg.train_cfg.max_epochs)
    dataset = DATASETS.build(loader.dataset)
    if len(dataset) < batch:
        raise ValueError(
            f"found {len(dataset)} images in {dataset.data_root}, expected at least one batch of {batch} over all "
            f"processes; add images or set batch_size"
        )
    check_sample(dataset)


def find_task(name: str) -> type[PretextTask]:
    """The pretext task of this name.

    Raises:
        ValueError: there is none.
    """
    found = MODELS.get(name)
    if not _is_task(found):
        known = ", ".join(sorted(key for key, one in MODELS.module_dict.items() if _is_task(one)))
        raise ValueError(
            f"found model.type {name!r}, expected a pretext task, a subclass of Stage1.models.pretext.PretextTask: "
            f"{known}"
        )
    return found


def check_schedule(schedulers: Sequence[Mapping[str, Any]], epochs: int) -> None:
    """Raises a ValueError where there is no epoch, or a part of the learning rate's schedule begins after the last."""
    if epochs < 1:
        raise ValueError(f"found max_epochs {epochs}, expected at least 1; set max_epochs=50")
    for place, scheduler in enumerate(schedulers):
        begin = scheduler.get("begin", 0)
        if scheduler.get("by_epoch", True) and begin >= epochs:
            raise ValueError(
                f"found max_epochs {epochs} and a learning rate whose {scheduler['type']} begins with epoch {begin}, "
                f"expected more epochs; set max_epochs above {begin}, or param_scheduler.{place - 1}.end and "
                f"param_scheduler.{place}.begin lower"
            )


def _is_task(found: object) -> bool:
    return isinstance(found, type) and issubclass(found, PretextTask)
