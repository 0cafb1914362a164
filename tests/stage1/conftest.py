"""Tiny radiograph folders and runs of a config that take seconds."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tool_modules import load_tool

from Stage1.runs import training

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "configs/selfsup/densecl/densecl_demo.py"
COMMON = {
    "max_epochs": 2,
    "batch_size": 4,
    "image_size": 32,
    "num_workers": 0,
    "checkpoint_interval": 1,
    "log_interval": 1,
}
TINY = COMMON | {"queue_length": 16}
TINY_TASKS = {  # what makes the demo recipe of each pretext task tiny
    "densecl": TINY,
    "simclr": COMMON,
    "simmim": COMMON
    | {"image_size": 64, "model.width": 8, "model.depths": "1,1,1,1", "model.heads": "1,2,2,4", "model.window": 2},
    "mae": COMMON
    | {"model.width": 16, "depth": 1, "model.heads": 2}
    | {"model.decoder_width": 8, "model.decoder_depth": 1, "model.decoder_heads": 2},
}


def demo_of(task: str) -> Path:
    """The demo recipe of a pretext task."""
    return ROOT / f"configs/selfsup/{task}/{task}_demo.py"


@pytest.fixture(scope="session")
def radiographs(tmp_path_factory) -> Path:
    """A folder of 12 small grey JPEGs."""
    folder = tmp_path_factory.mktemp("radiographs")
    random = np.random.default_rng(0)
    for number in range(12):
        pixels = random.integers(0, 256, (6, 8), dtype=np.uint8)
        Image.fromarray(pixels).resize((48, 40), Image.Resampling.BICUBIC).save(folder / f"{number:02d}.jpg")
    return folder


@pytest.fixture(scope="session")
def train_cli():
    """The module tools/train.py."""
    return load_tool("train")


@pytest.fixture(scope="session")
def run_tiny(radiographs, train_cli):
    """Runs a task's demo config, made tiny, in this process; returns its runner."""

    def run(work_dir: Path, *arguments: str, task: str = "densecl", **changes):
        settings = TINY_TASKS[task] | {"data_root": radiographs} | changes
        options = [f"{key}={value}" for key, value in settings.items()]
        config = str(demo_of(task))
        args = train_cli.parse_args([config, "--work_dir", str(work_dir), *arguments, "--cfg-options", *options])
        runner = training.build_runner(training.plan_run(args), args)
        runner.train()
        return runner

    return run
