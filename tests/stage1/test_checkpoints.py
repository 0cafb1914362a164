"""Checkpoint files: every published format loads, anything else is refused in one sentence, writing is atomic."""

import pickle

import pytest
import torch

from Stage1.checkpoints import (
    AtomicLocalBackend,
    backbone_weights,
    check_resumable,
    load_backbone,
    read_checkpoint,
    save_atomically,
)
from Stage1.models import DenseCL, ResNetC5


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return DenseCL(depth=18, queue_length=4)


def formats(model):
    """The published files that hold one and the same backbone."""
    state = {key: value.clone() for key, value in model.state_dict().items()}
    bare = {key: value.clone() for key, value in model.backbone.state_dict().items()}
    without_counters = {key: value for key, value in bare.items() if not key.endswith("num_batches_tracked")}
    return {
        "torchvision": without_counters | {"fc.weight": torch.zeros(1000, 512), "fc.bias": torch.zeros(1000)},
        "densecl backbone": {"state_dict": bare, "author": "DenseCL"},
        "densecl checkpoint": {"state_dict": state, "optimizer": {}, "meta": {"epoch": 1}},
        "saved under data parallel": {"state_dict": {f"module.{key}": value for key, value in state.items()}},
        "without alias": {"state_dict": {k: v for k, v in state.items() if not k.startswith("backbone.")}},
        "mmpretrain backbone": {"state_dict": {f"backbone.{key}": value for key, value in bare.items()}},
    }


@pytest.mark.parametrize(
    "name",
    [
        "torchvision",
        "densecl backbone",
        "densecl checkpoint",
        "saved under data parallel",
        "without alias",
        "mmpretrain backbone",
    ],
)
def test_every_published_format_loads_completely(model, tmp_path, name):
    path = tmp_path / "file.pth"
    torch.save(formats(model)[name], path)
    fresh = ResNetC5(18)
    loaded = load_backbone(fresh, path)
    assert loaded in (len(fresh.state_dict()), len(fresh.state_dict()) - 20)  # 20 counters of batch-norm layers
    for key, value in model.backbone.state_dict().items():
        assert torch.equal(fresh.state_dict()[key], value), key


def test_backbone_has_no_classifier(model):
    weights = backbone_weights(formats(model)["torchvision"], "file.pth")
    assert "conv1.weight" in weights
    assert not any(key.startswith("fc.") for key in weights)


@pytest.mark.parametrize(("file_depth", "complaint"), [(50, "not in the model"), (101, "of another shape")])
def test_another_depth_is_refused_by_layer(tmp_path, file_depth, complaint):
    path = tmp_path / "other.pth"
    torch.save(ResNetC5(file_depth).state_dict(), path)
    backbone = ResNetC5(18)
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    with pytest.raises(ValueError, match=rf"do not fit the model: .*{complaint} \(layer.*same ResNet depth"):
        load_backbone(backbone, path)
    assert all(torch.equal(value, before[key]) for key, value in backbone.state_dict().items())


def test_a_missing_layer_is_named(tmp_path):
    path = tmp_path / "part.pth"
    torch.save({k: v for k, v in ResNetC5(18).state_dict().items() if k != "layer2.1.conv2.weight"}, path)
    with pytest.raises(ValueError, match=r"1 missing \(layer2\.1\.conv2\.weight\)"):
        load_backbone(ResNetC5(18), path)


class Gadget:
    """Stands for code that a checkpoint must not be able to run."""


def test_files_that_are_not_checkpoints_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"found no file .*absent\.pth"):
        read_checkpoint(tmp_path / "absent.pth")
    bad = tmp_path / "bad.pth"
    for content in (b"", b"<html>", pickle.dumps([1, 2], protocol=2), b"PK\x03\x04 half a zip file"):
        bad.write_bytes(content)
        with pytest.raises(ValueError, match=r"bad\.pth"):
            read_checkpoint(bad)
    torch.save({"state_dict": {}, "gadget": Gadget()}, bad)
    with pytest.raises(ValueError, match="weights only"):
        read_checkpoint(bad)
    torch.save(torch.zeros(2), bad)
    with pytest.raises(ValueError, match="found a Tensor"):
        read_checkpoint(bad)


@pytest.mark.parametrize("content", [{}, {"state_dict": {"head.weight": torch.zeros(1)}}, {"state_dict": 3}])
def test_a_checkpoint_without_backbone_is_refused(content):
    with pytest.raises(ValueError, match=r"found no backbone in x\.pth \(it holds (nothing|head.weight|state_dict)"):
        backbone_weights(content, "x.pth")


def test_resuming_needs_a_checkpoint_of_the_same_model(model):
    state = model.state_dict()
    with pytest.raises(ValueError, match=r"found no optimizer, meta, message_hub in x\.pth.*--pretrained"):
        check_resumable(state, {"state_dict": state}, "x.pth")
    whole = {"state_dict": state, "optimizer": {}, "meta": {}, "message_hub": {}}
    check_resumable(state, whole, "x.pth")
    other = DenseCL(depth=18, queue_length=8).state_dict()
    with pytest.raises(ValueError, match=r"found 2 tensors in x\.pth that do not fit the model \(queue, queue2\)"):
        check_resumable(other, whole, "x.pth")


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "weights.pth"
    save_atomically({"state_dict": {"a": torch.ones(1)}}, path)

    def fail(content, file):
        file.write(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(OSError, match="no space"):
        save_atomically({}, path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["weights.pth"]
    assert read_checkpoint(path)["state_dict"]["a"].item() == 1


def test_mmengine_writes_through_a_temporary_file(tmp_path, monkeypatch):
    path = tmp_path / "new" / "epoch_1.pth"
    seen = []
    replace = type(path).replace
    monkeypatch.setattr(
        type(path), "replace", lambda self, target: seen.append((self.read_bytes(), target)) or replace(self, target)
    )
    AtomicLocalBackend().put(b"content", path)
    assert seen == [(b"content", path)]
    assert path.read_bytes() == b"content"
    assert len(list(path.parent.iterdir())) == 1
