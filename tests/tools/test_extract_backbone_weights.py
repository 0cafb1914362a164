"""tools/extract_backbone_weights.py: what it writes, and one sentence for what it cannot read."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from Stage1.models.backbone import ResNetC5
from Stage1.models.densecl import DenseCL

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def extract():
    """The command's main function."""
    spec = importlib.util.spec_from_file_location("extract_cli", ROOT / "tools/extract_backbone_weights.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return lambda *arguments: module.main([str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return DenseCL(depth=18, queue_length=4)


@pytest.mark.parametrize("prefix", ["encoder_q.0.", "backbone.", ""])
def test_writes_the_backbone_under_torchvision_names(extract, model, tmp_path, prefix):
    checkpoint, output = tmp_path / "epoch_50.pth", tmp_path / "new folder" / "backbone.pth"
    state = {f"{prefix}{key}": value for key, value in model.backbone.state_dict().items()}
    torch.save({"state_dict": state | {"fc.weight": torch.zeros(1), "queue": model.queue}}, checkpoint)
    assert extract(checkpoint, output) == 0
    written = torch.load(output, weights_only=True)
    assert written.keys() == {"state_dict", "author"}
    assert written["author"] == "DenseMP"
    expected = ResNetC5(18).state_dict().keys()
    assert written["state_dict"].keys() == expected
    for key in expected:
        assert torch.equal(written["state_dict"][key], model.backbone.state_dict()[key])


def test_takes_the_query_encoder_of_a_full_checkpoint(model, extract, tmp_path):
    state = model.state_dict()
    for key in state:
        if key.startswith("encoder_k."):
            state[key] = torch.zeros_like(state[key])
    torch.save({"state_dict": state}, tmp_path / "full.pth")
    assert extract(tmp_path / "full.pth", tmp_path / "out.pth") == 0
    written = torch.load(tmp_path / "out.pth", weights_only=True)["state_dict"]
    assert written.keys() == model.backbone.state_dict().keys()
    assert torch.equal(written["conv1.weight"], model.encoder_q[0].conv1.weight)


def test_refuses_in_one_line_and_writes_nothing(extract, tmp_path, capsys):
    no_backbone, not_a_checkpoint = tmp_path / "head.pth", tmp_path / "page.pth"
    torch.save({"state_dict": {"head.weight": torch.zeros(1)}}, no_backbone)
    not_a_checkpoint.write_text("<html>")
    output = tmp_path / "out.pth"
    output.write_bytes(b"older file")
    for source, complaint in {
        tmp_path / "absent.pth": "found no file",
        no_backbone: "found no backbone",
        not_a_checkpoint: "found a web page",
    }.items():
        assert extract(source, output) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("extract_backbone_weights.py: error: ")
        assert complaint in line
        assert source.name in line
        assert output.read_bytes() == b"older file"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["head.pth", "out.pth", "page.pth"]
    assert extract(no_backbone, tmp_path) == 1
    assert "found a folder" in capsys.readouterr().err


def test_the_published_command_works_inside_stage1(model, tmp_path):
    torch.save({"state_dict": model.state_dict()}, tmp_path / "epoch_1.pth")
    done = subprocess.run(
        [sys.executable, "tools/extract_backbone_weights.py", tmp_path / "epoch_1.pth", tmp_path / "backbone.pth"],
        cwd=ROOT / "Stage1", env=os.environ, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"Wrote 120 tensors to {tmp_path / 'backbone.pth'}\n"
