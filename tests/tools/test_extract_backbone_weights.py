"""tools/extract_backbone_weights.py: what it writes, and one sentence for what it cannot read."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tool_modules import load_tool

from Stage1.models.backbone import ResNetC5
from Stage1.models.densecl import DenseCL
from Stage1.models.mae import MAE
from Stage1.models.simclr import SimCLR
from Stage1.models.simmim import SimMIM
from Stage1.models.transformers import SwinBackbone, VisionTransformerBackbone
from Stage1.weights.backbones import load_backbone
from Stage1.weights.layouts import layouts_of
from Stage2.models.build import build_segmenter
from Stage2.models.registry import ENCODERS
from Stage2.models.resnets import PlainResNet

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def extract():
    """The command's main function."""
    module = load_tool("extract_backbone_weights")
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


def small_swin():
    return SwinBackbone(8, (1, 1, 1, 1), (1, 1, 2, 2), window=2)


def small_vit():
    return VisionTransformerBackbone(16, 1, 2, image_size=256)


def small_resnet():
    return PlainResNet(18)


CHECKPOINTS = {
    "simclr": (small_resnet, lambda: SimCLR(depth=18), "dlfcn_res50_mmcv"),
    "simmim": (small_swin, lambda: SimMIM(8, (1, 1, 1, 1), (1, 1, 2, 2), window=2), "dlfcn_swin_mmcv"),
    "mae": (small_vit, lambda: MAE(64, 16, 1, 2, 8, 1, 2), "dlfcn_vit_mmcv"),
}


@pytest.mark.parametrize("task", CHECKPOINTS)
def test_stage_2_starts_from_what_is_written_by_either_setting(extract, tmp_path, task, monkeypatch):
    """The published encoders' names, with small networks behind them."""
    network, build, encoder = CHECKPOINTS[task]
    monkeypatch.setitem(ENCODERS, encoder, network)
    torch.manual_seed(4)
    model = build()
    checkpoint, output = tmp_path / "epoch_1.pth", tmp_path / "backbone.pth"
    torch.save({"state_dict": model.state_dict(), "message_hub": {}, "random_state": {}}, checkpoint)
    assert extract(checkpoint, output) == 0
    weights = torch.load(output, weights_only=True)["state_dict"]
    kept = {key for key in network().state_dict() if not key.endswith("relative_position_index")}
    assert weights.keys() == kept
    resized = {"encoder.pos_embedding"} if task == "mae" else set()  # from 64 pixels to 256
    for setting in ("backbone", "snapshot"):
        options = {"backbone": {"backbone": output}, "snapshot": {"snapshot": output, "or_backbone": True}}[setting]
        segmenter = build_segmenter(encoder, "grid_proto", "fp32", torch.device("cpu"), 0, **options)
        state = segmenter.encoder.backbone.state_dict()
        for key in kept - resized:
            assert torch.equal(state[key], model.backbone.state_dict()[key]), key


@pytest.mark.parametrize("build", [small_swin, small_vit])
def test_mmpretrains_transformers_are_written_under_torchvisions_names(extract, tmp_path, build):
    source = build()
    layout = layouts_of(source.state_dict())[1]
    state = {f"backbone.{key}": source.state_dict()[ours] for key, ours in layout.keys.items()}
    torch.save({"state_dict": state | {"backbone.mask_token": torch.ones(1)}}, tmp_path / "file.pth")
    assert extract(tmp_path / "file.pth", tmp_path / "out.pth") == 0
    weights = torch.load(tmp_path / "out.pth", weights_only=True)["state_dict"]
    expected, written = build(), build()
    load_backbone(expected, tmp_path / "file.pth")
    load_backbone(written, tmp_path / "out.pth")
    assert weights.keys() == set(layout.keys.values())
    assert all(torch.equal(value, written.state_dict()[key]) for key, value in expected.state_dict().items())


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


def test_the_checkpoint_is_never_written_over(extract, model, tmp_path, capsys):
    checkpoint = tmp_path / "epoch_1.pth"
    torch.save({"state_dict": model.state_dict()}, checkpoint)
    (tmp_path / "link.pth").symlink_to(checkpoint)
    before = checkpoint.read_bytes()
    for output, complaint in {
        checkpoint: "as checkpoint and output, expected another file",
        tmp_path / "link.pth": "as checkpoint and output, expected another file",
        tmp_path / "b.safetensors": "expected a name that ends in .pth",
    }.items():
        assert extract(checkpoint, output) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert complaint in line and output.name in line
    assert checkpoint.read_bytes() == before and not (tmp_path / "b.safetensors").exists()


def test_names_that_are_no_text_are_told(model, tmp_path):
    torch.save(model.backbone.state_dict(), tmp_path / "in.pth")
    output = os.fsencode(tmp_path) + b"/caf\xe9.pth"
    command = [sys.executable, ROOT / "tools/extract_backbone_weights.py", tmp_path / "in.pth", output]
    strict = os.environ | {"PYTHONIOENCODING": "utf-8:strict"}
    done = subprocess.run(command, env=strict, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"Wrote 120 tensors to {tmp_path}/caf\\xe9.pth\n" and len(list(tmp_path.iterdir())) == 2


def test_the_published_command_works_inside_stage1(model, tmp_path):
    torch.save({"state_dict": model.state_dict()}, tmp_path / "epoch_1.pth")
    done = subprocess.run(
        [sys.executable, "tools/extract_backbone_weights.py", tmp_path / "epoch_1.pth", tmp_path / "backbone.pth"],
        cwd=ROOT / "Stage1", env=os.environ, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"Wrote 120 tensors to {tmp_path / 'backbone.pth'}\n"
