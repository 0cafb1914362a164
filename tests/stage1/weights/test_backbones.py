"""Backbones: every published format loads, and a file that does not fit is refused by layer."""

import pytest
import torch
import torchvision
from safetensors.torch import save_file

from Stage1.models import DenseCL, ResNetC5
from Stage1.weights.backbones import backbone_weights, load_backbone, resnet_depth, summarise


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


SOURCES = {
    "torchvision": ("a torchvision or timm ResNet file; left out: fc.bias, fc.weight", 20),
    "densecl backbone": ("a backbone file; left out: nothing", 0),
    "densecl checkpoint": (
        "a DenseCL or OpenSelfSup checkpoint; left out: encoder_k.* (128), encoder_q.* (8), queue, queue2, queue2_ptr",
        0,
    ),
    "saved under data parallel": (
        "a DenseCL or OpenSelfSup checkpoint; left out: encoder_k.* (128), encoder_q.* (8), queue, queue2, queue2_ptr",
        0,
    ),
    "without alias": (
        "a DenseCL or OpenSelfSup checkpoint; left out: encoder_k.* (128), encoder_q.* (8), queue, queue2, queue2_ptr",
        0,
    ),
    "mmpretrain backbone": ("an MMSelfSup or MMPretrain file; left out: nothing", 0),
}


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
@pytest.mark.parametrize("name", SOURCES)
def test_every_published_format_loads_completely_and_says_what_it_was(model, tmp_path, name, suffix):
    path = tmp_path / f"file.{suffix}"
    content = formats(model)[name]
    if suffix == "pth":
        torch.save(content, path)
    else:
        save_file({key: value.clone() for key, value in content.get("state_dict", content).items()}, path)
    fresh = ResNetC5(18)
    loaded = load_backbone(fresh, path)
    source, absent_counters = SOURCES[name]
    assert loaded.tensors == len(fresh.state_dict()) - absent_counters
    assert str(loaded).startswith(f"{loaded.tensors} tensors from {source}")
    assert ("20 num_batches_tracked counters are not in the file" in str(loaded)) == (absent_counters > 0)
    for key, value in model.backbone.state_dict().items():
        assert torch.equal(fresh.state_dict()[key], value), key


def test_parts_left_out_are_named_in_one_line(model, tmp_path):
    path = tmp_path / "epoch_1.pth"
    torch.save({"state_dict": model.state_dict(), "message_hub": {}}, path)
    text = str(load_backbone(ResNetC5(18), path))
    assert text.startswith(
        "120 tensors from a checkpoint of tools/train.py; left out: encoder_k.* (128), encoder_q.* (8), queue, "
    )
    assert "backbone" not in text.partition("left out")[2]  # the same tensors under a second name
    assert summarise(["fc.weight", "fc.bias", "a.1", "a.2", "a.3"]) == "fc.weight, fc.bias, a.* (3)"


def test_backbone_has_no_classifier(model):
    weights = backbone_weights(formats(model)["torchvision"], "file.pth")
    assert "conv1.weight" in weights
    assert not any(key.startswith("fc.") for key in weights)


@pytest.mark.parametrize(("file_depth", "complaint"), [(50, "not in the model"), (101, "of another shape")])
def test_another_depth_is_refused_by_layer_and_recognised(tmp_path, file_depth, complaint):
    path = tmp_path / "other.pth"
    torch.save(ResNetC5(file_depth).state_dict(), path)
    backbone = ResNetC5(18)
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    advice = rf"looks like a ResNet-{file_depth} and the model is a ResNet-18; .* or set depth={file_depth}$"
    with pytest.raises(ValueError, match=rf"do not fit the model: .*{complaint} \(layer.*{advice}"):
        load_backbone(backbone, path)
    assert all(torch.equal(value, before[key]) for key, value in backbone.state_dict().items())


@pytest.mark.parametrize("depth", [18, 34, 50, 101, 152])
def test_depth_is_read_off_the_names_of_torchvisions_layers(depth):
    with torch.device("meta"):
        names = getattr(torchvision.models, f"resnet{depth}")().state_dict()
    assert resnet_depth(names) == depth
    assert resnet_depth(name for name in names if not name.startswith("layer4.1.")) is None


def test_a_missing_layer_is_named(tmp_path):
    path = tmp_path / "part.pth"
    torch.save({k: v for k, v in ResNetC5(18).state_dict().items() if k != "layer2.1.conv2.weight"}, path)
    with pytest.raises(ValueError, match=r"1 missing \(layer2\.1\.conv2\.weight\)"):
        load_backbone(ResNetC5(18), path)


@pytest.mark.parametrize("content", [{}, {"state_dict": {"head.weight": torch.zeros(1)}}, {"state_dict": 3}])
def test_a_checkpoint_without_backbone_is_refused(content):
    with pytest.raises(ValueError, match=r"found no backbone in x\.pth \(it holds (nothing|head.weight|state_dict)"):
        backbone_weights(content, "x.pth")
