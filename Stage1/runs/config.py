"""Recipes: finding a config file, changing its settings by name, checking it against the data and the processes."""

import difflib
from pathlib import Path

import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import DATASETS

from Stage1.datasets.radiographs import check_sample
from Stage1.models.contrast import check_queue_length

ROOT = Path(__file__).resolve().parents[2]

# Settings that people change, by short name. Any other is reached by its dotted path.
SHORT_NAMES = {
    "data_root": "train_dataloader.dataset.data_root",
    "image_size": "train_dataloader.dataset.view.image_size",
    "batch_size": "train_dataloader.batch_size",
    "num_workers": "train_dataloader.num_workers",
    "depth": "model.depth",
    "queue_length": "model.queue_length",
    "precision": "model.precision",
    "channels_last": "model.channels_last",
    "compile": "model.compile",
    "max_epochs": "train_cfg.max_epochs",
    "lr": "optim_wrapper.optimizer.lr",
    "checkpoint_interval": "default_hooks.checkpoint.interval",
    "log_interval": "default_hooks.logger.interval",
}


def find_path(path: str | Path) -> Path:
    """A path as given or, where that does not exist, the same path below the repository."""
    path = Path(path)
    return ROOT / path if not path.exists() and (ROOT / path).exists() else path


def load_recipe(path: str | Path, options: dict | None = None) -> Config:
    """Reads a config file and changes settings in it.

    Args:
        path: of the config file, from the working directory or from the repository.
        options: new values by short name (see SHORT_NAMES) or by dotted path.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a config file, or an option that the recipe does not have; the message names the nearest.
    """
    path = find_path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"found no config file {path}, expected for example configs/selfsup/densecl/densecl_roco_50ep.py"
        )
    if path.suffix != ".py":
        raise ValueError(f"found config file {path}, expected a .py file as those below configs/")
    cfg = Config.fromfile(path)
    changes = {SHORT_NAMES.get(name, name): value for name, value in (options or {}).items()}
    known = set(dotted_paths(cfg))
    for name in changes:
        if name not in known:
            nearest = difflib.get_close_matches(name, sorted(known | set(SHORT_NAMES)), n=1, cutoff=0)[0]
            raise ValueError(f"found option {name!r}, which {path.name} does not have; did you mean {nearest!r}?")
    cfg.merge_from_dict(changes)
    if cfg.model.precision == "fp16":  # gradients below its range vanish unless the loss is scaled
        cfg.optim_wrapper.type = "AmpOptimWrapper"
        cfg.optim_wrapper.dtype = "float16"
    dataset = cfg.train_dataloader.dataset
    dataset.data_root = str(find_path(dataset.data_root))
    return cfg


def dotted_paths(settings: Config | ConfigDict | list, prefix: str = "") -> list[str]:
    """Paths of all settings in nested dictionaries and lists, ``model.depth`` or ``custom_hooks.0.type``."""
    items = settings.items() if hasattr(settings, "items") else enumerate(settings)
    paths = []
    for key, value in items:
        paths.append(f"{prefix}{key}")
        if isinstance(value, dict | list):
            paths += dotted_paths(value, f"{prefix}{key}.")
    return paths


def default_work_dir(config_path: str | Path) -> Path:
    """``./work_dirs/<path of the config below configs/, without .py>``; only its name for a config from elsewhere."""
    path = find_path(config_path).resolve()
    configs = ROOT / "configs"
    inside = path.relative_to(configs) if path.is_relative_to(configs) else Path(path.name)
    return Path("work_dirs") / inside.with_suffix("")


def check_data(cfg: Config, processes: int) -> None:
    """Fails early on what a run over this many processes would fail on later.

    Raises:
        FileNotFoundError, ValueError: no folder, no image, too many unreadable ones, fewer images than one batch, a
            batch that does not divide the queue, or half precision without a GPU.
    """
    loader = cfg.train_dataloader
    batch = loader.batch_size * processes
    if batch < 1:
        raise ValueError(f"found batch_size {loader.batch_size}, expected at least 1; set batch_size=32")
    check_queue_length(cfg.model.queue_length, batch)
    if cfg.model.precision == "fp16" and not torch.cuda.is_available():
        raise ValueError("found precision fp16 but no CUDA GPU, expected one; set precision=bf16 or precision=fp32")
    dataset = DATASETS.build(loader.dataset)
    if len(dataset) < batch:
        raise ValueError(
            f"found {len(dataset)} images in {dataset.data_root}, expected at least one batch of {batch} over all "
            f"processes; add images or set batch_size"
        )
    check_sample(dataset)
