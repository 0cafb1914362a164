"""The worked examples of docs/extending.md: its changes, made in a copy of the repository, and its commands there."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from docs.pages import ROOT, code_blocks

from Stage1.weights.checkpoints import read_checkpoint

PAGE = ROOT / "docs" / "extending.md"
CHANGE = re.compile(r"# (?:new file: (?P<new>\S+)|in (?P<old>\S+), after: (?P<line>.*))\n")


def change(repository: Path, block: str) -> None:
    """Make the change that a block states in its first line: a new file, or lines after one that is there."""
    stated = CHANGE.match(block)
    assert stated, f"a block says not where it goes: {block[:60]}"
    text = block[stated.end() :]
    if stated["new"]:
        path = repository / stated["new"]
        assert not path.exists()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    else:
        path = repository / stated["old"]
        content = path.read_text()
        assert content.count(f"\n{stated['line']}\n") == 1, f"{stated['old']} has no line {stated['line']}"
        path.write_text(content.replace(f"\n{stated['line']}\n", f"\n{stated['line']}\n{text}"))


@pytest.fixture(scope="module")
def repository(tmp_path_factory) -> Path:
    """A copy that was changed as the page says, and in which its commands were run."""
    root = tmp_path_factory.mktemp("extended")
    for folder in ("Stage1", "Stage2", "tools", "configs"):
        shutil.copytree(ROOT / folder, root / folder, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for block in [*code_blocks(PAGE, "yaml"), *code_blocks(PAGE, "python")]:
        change(root, block)
    environment = os.environ | {
        "PYTHONPATH": str(root), "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }  # fmt: skip
    for block in code_blocks(PAGE, "bash"):
        done = subprocess.run(
            ["bash", "-euc", block], cwd=root, env=environment, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, f"{block}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return root


def test_the_new_head_and_encoder_are_trained_and_saved(repository: Path):
    (snapshot,) = (repository / "exps" / "toy" / "mySSL_train_toy_sets_0_1shot").glob("*/snapshots/4.pth")
    state = torch.load(snapshot, weights_only=True)
    scales = [tensor for key, tensor in state.items() if key.endswith(".scale")]
    assert len(scales) == 1 and scales[0] != 0
    assert any(tensor.shape == (16, 3, 3, 3) for tensor in state.values()), "the first convolution of the encoder"


def test_the_new_metric_is_in_the_results(repository: Path):
    (results,) = (repository / "exps" / "toy" / "mySSL_test_toy_sets_0_1shot").glob("*/results.json")
    found = json.loads(results.read_text())
    assert found["dataset"] == "toy" and "volume_error_ml" in found["mean"]
    assert "volume error (ml)" in (repository / "exps" / "toy" / "results.md").read_text()


def test_the_new_pretext_task_gives_a_backbone(repository: Path):
    weights = torch.load(repository / "backbone.pth", weights_only=True)["state_dict"]
    assert weights["conv1.weight"].shape == (64, 3, 7, 7) and "layer4.1.bn2.weight" in weights
    assert read_checkpoint(repository / "work_dirs/simsiam/epoch_1.pth")["meta"]["iter"] == 3
