"""Config files of Stage 1: reading one with changed settings, and checking it against the data and the processes."""

from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import DATASETS

from Stage1.datasets.radiographs import check_sample
from Stage1.models.contrast import check_queue_length
from Stage1.runs.settings import changes_of, find_config, find_path


def load_config(path: str | Path, options: dict[str, Any] | None = None) -> Config:
    """Reads a config file and changes settings in it.

    Args:
        path: of the config file, from the working directory or from the repository.
        options: new values by short name or by dotted path, as text or as they are.

    Raises:
        FileNotFoundError, ValueError: as find_config and changes_of; or the folder of images has a name that a config
            cannot hold.
    """
    path = find_config(path)
    cfg = Config.fromfile(path)
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
            batch that does not divide the queue, or half precision without a GPU.
    """
    loader = cfg.train_dataloader
    batch = loader.batch_size * processes
    if batch < 1:
        raise ValueError(f"found batch_size {loader.batch_size}, expected at least 1; set batch_size=32")
    if "queue_length" in cfg.model:
        check_queue_length(cfg.model.queue_length, batch)
    if cfg.model.get("precision") == "fp16" and not torch.cuda.is_available():
        raise ValueError("found precision fp16 but no CUDA GPU, expected one; set precision=bf16 or precision=fp32")
    dataset = DATASETS.build(loader.dataset)
    if len(dataset) < batch:
        raise ValueError(
            f"found {len(dataset)} images in {dataset.data_root}, expected at least one batch of {batch} over all "
            f"processes; add images or set batch_size"
        )
    check_sample(dataset)
