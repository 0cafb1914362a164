"""Plain loops and recipes are timed over the same images, and compute the same loss."""

from pathlib import Path

import pytest
import torch
from mmengine.registry import MODELS

from Stage1.benchmark_loops import PLAIN_TASKS, train_plainly, train_recipe
from Stage1.runs.config import load_config

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "selfsup"
TINY = {
    "simclr": {"image_size": 32},
    "simmim": {"image_size": 64, "model.width": 8, "model.depths": "1,1,1,1", "model.heads": "1,1,2,2"},
    "mae": {"image_size": 32, "model.width": 16, "model.depth": 1, "model.heads": 2, "model.decoder_width": 16},
}


def options_of(task: str, folder: Path) -> dict[str, str]:
    return {name: str(value) for name, value in {"batch_size": 4, "data_root": folder, **TINY[task]}.items()}


@pytest.mark.parametrize("task", TINY)
def test_both_loops_are_timed_step_by_step(task: str, radiographs: Path):
    config = CONFIGS / task / f"{task}_demo.py"
    options = options_of(task, radiographs)
    plain = train_plainly(load_config(config, options), radiographs, 4)
    ours = train_recipe(config, radiographs, 4, options)
    assert len(plain) == len(ours) == 4
    assert min(plain + ours) > 0


@pytest.mark.parametrize("task", ["simmim", "mae"])
def test_the_plain_network_is_as_large_as_ours(task: str, radiographs: Path):
    cfg = load_config(CONFIGS / task / f"{task}_demo.py", options_of(task, radiographs))
    ours = MODELS.build(cfg.model)
    network, loss = PLAIN_TASKS[cfg.model.type](cfg.model, cfg.train_dataloader.dataset.view.image_size)
    counts = [sum(one.numel() for one in model.parameters() if one.requires_grad) for model in (ours, network)]
    unused = cfg.model.width if task == "mae" else 0  # lightly's encoder has a token for masks of its own
    heads = 1000 * (cfg.model.width + 1) if task == "mae" else 0  # and torchvision's classifier
    assert counts[1] - counts[0] == unused + heads
    size = cfg.train_dataloader.dataset.view.image_size
    assert torch.isfinite(loss(network, [torch.randn(2, 3, size, size)]))


def test_a_task_without_plain_loop_is_refused(radiographs: Path):
    cfg = load_config(CONFIGS / "densecl" / "densecl_demo.py", {"data_root": str(radiographs)})
    with pytest.raises(ValueError, match="found no plain loop for DenseCL, expected one of SimCLR, MAE, SimMIM"):
        train_plainly(cfg, radiographs, 1)
