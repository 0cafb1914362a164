"""The worked examples of docs/extending.md: its changes, made in a copy of the repository, and its commands there."""

import json
import os
import re
import shlex
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

# Runs programs one after another, each in a process of its own; importing torch takes seconds, so that is done once.
PROGRAMS = """
import json, os, runpy, sys
import torch, torchvision
for words in json.loads(sys.argv[1]):
    child = os.fork()
    if child == 0:
        sys.argv, sys.path[0] = words, os.path.dirname(words[0])
        runpy.run_path(words[0], run_name="__main__")
        sys.exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status:
        sys.exit(f"{words} ended with status {status}")
"""


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
    lines = [line for block in code_blocks(PAGE, "bash") for line in block.replace("\\\n", " ").splitlines()]
    commands = [shlex.split(line) for line in lines]
    assert {words[0] for words in commands} == {"python"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAMS, json.dumps([words[1:] for words in commands])], cwd=root,
        env=os.environ | {"PYTHONPATH": str(root)}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
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
