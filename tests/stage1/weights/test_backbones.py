"""Backbones: every published format loads, and a file that does not fit is refused by layer."""

import pytest
import torch
import torchvision
from mmengine.logging import HistoryBuffer
from safetensors.torch import save_file

from Stage1.models.backbone import ResNetC5
from Stage1.models.densecl import DenseCL
from Stage1.models.transformers import SwinBackbone, VisionTransformerBackbone
from Stage1.weights.backbones import COUNTER, backbone_weights, built_depth, load_backbone, summarise
from Stage1.weights.layouts import layouts_of, resize_grid, resnet_depth, resnet_names
from Stage2.models.resnets import PlainResNet


def swin(window=3, width=8, depths=(1, 1, 2, 1)):
    return SwinBackbone(width, depths, heads=(1, 2, 2, 4), window=window).eval()


def vit(image_size=64, width=16, depth=2):
    return VisionTransformerBackbone(width, depth, heads=2, image_size=image_size).eval()


def same(module, weights):
    return all(torch.equal(value, weights[key]) for key, value in module.state_dict().items())


def as_mmpretrain(backbone):
    """State dict under MMPretrain's names behind its prefix; the order of merged cells does not matter here."""
    own = backbone.state_dict()
    return {f"backbone.{key}": own[our] for key, our in layouts_of(backbone.state_dict())[1].keys.items()}


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
        "stage 2 snapshot": {f"encoder.backbone.{key}": value for key, value in bare.items()}
        | {"encoder.localconv.weight": torch.ones(1)},
    }


SOURCES = {
    "torchvision": ("a torchvision or timm file; left out: fc.bias, fc.weight", 20),
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
    "stage 2 snapshot": ("a snapshot of Stage 2; left out: encoder.localconv.weight", 0),
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
    with pytest.raises(ValueError, match=rf"do not fit the model: .*{complaint}: \S.*{advice}"):
        load_backbone(backbone, path)
    assert all(torch.equal(value, before[key]) for key, value in backbone.state_dict().items())


@pytest.mark.parametrize("depth", [18, 34, 50, 101, 152])
def test_depth_is_read_off_the_names_of_torchvisions_layers(depth):
    with torch.device("meta"):
        names = getattr(torchvision.models, f"resnet{depth}")().state_dict()
    assert resnet_depth(names) == depth
    assert sorted(resnet_names(depth)) == sorted(n for n in names if not n.startswith("fc.") and COUNTER not in n)
    assert resnet_depth(name for name in names if not name.startswith("layer4.1.")) is None
    if depth in (18, 50, 101):
        assert built_depth(names, "x.pth") == depth
        return
    with pytest.raises(ValueError, match=rf"found a ResNet-{depth} in x\.pth, expected a ResNet-18, 50 or 101"):
        built_depth(names, "x.pth")


def test_a_missing_layer_is_named(tmp_path):
    path = tmp_path / "part.pth"
    torch.save({k: v for k, v in ResNetC5(18).state_dict().items() if k != "layer2.1.conv2.weight"}, path)
    with pytest.raises(ValueError, match=r"1 missing: layer2\.1\.conv2\.weight; give another file or set"):
        load_backbone(ResNetC5(18), path)


def test_a_resnet_that_is_not_whole_is_no_backbone():
    state = ResNetC5(18).state_dict()
    assert len(backbone_weights({key: own for key, own in state.items() if COUNTER not in key}, "x.pth")) == 100
    for lacking in ("layer3.0.downsample.1.bias", "bn1.running_var"):
        with pytest.raises(ValueError, match=f"found a backbone without {lacking} in x.pth, expected all"):
            backbone_weights({key: own for key, own in state.items() if key != lacking}, "x.pth")
    with pytest.raises(ValueError, match=r"found a ResNet in x\.pth whose blocks are those of no depth \(18, 34, 50"):
        backbone_weights({key: own for key, own in state.items() if not key.startswith("layer4.1.")}, "x.pth")


@pytest.mark.parametrize("content", [{}, {"state_dict": {"head.weight": torch.zeros(1)}}, {"state_dict": 3}])
def test_a_checkpoint_without_backbone_is_refused(content):
    with pytest.raises(ValueError, match=r"found (no backbone of this kind|a int as state_dict) in x\.pth"):
        backbone_weights(content, "x.pth")


def test_simclr_file_of_mmpretrain_loads_into_a_plain_resnet(tmp_path):
    """A training checkpoint of MMEngine, which keeps more than weights and plain values."""
    torch.manual_seed(6)
    source, backbone = PlainResNet(50), PlainResNet(50)
    state = {f"backbone.{key}": value for key, value in source.state_dict().items()}
    state |= {"neck.fc0.weight": torch.ones(2), "neck.fc0.bias": torch.ones(2), "neck.bn0.weight": torch.ones(2)}
    content = {
        "meta": {"epoch": 100},
        "state_dict": state,
        "message_hub": {"log_scalars": {"loss": HistoryBuffer([1.0], [1])}},
    }
    torch.save(content, tmp_path / "simclr.pth")
    loaded = load_backbone(backbone, tmp_path / "simclr.pth")
    assert same(backbone, source.state_dict())
    assert str(loaded) == "318 tensors from an MMSelfSup or MMPretrain file; left out: neck.* (3)"


@pytest.mark.parametrize(
    ("build", "other_size", "resized"), [(swin, {"window": 4}, 5), (vit, {"image_size": 48}, 1)], ids=["swin", "vit"]
)
def test_self_supervised_transformers_of_mmpretrain_load(tmp_path, build, other_size, resized):
    """SimMIM and MAE checkpoints, of this window or image size and of another one."""
    torch.manual_seed(7)
    source = build()
    extra = {"backbone.mask_token": torch.ones(1), "neck.decoder.0.weight": torch.ones(1)}
    torch.save({"state_dict": as_mmpretrain(source) | extra}, tmp_path / "same.pth")
    backbone = build()
    report = load_backbone(backbone, tmp_path / "same.pth")
    unordered = [key for key in source.state_dict() if key not in layouts_of(source.state_dict())[1].unfolded]
    assert all(torch.equal(backbone.state_dict()[key], source.state_dict()[key]) for key in unordered)
    assert report.resized == 0
    assert str(report) == (
        f"{len(as_mmpretrain(source))} tensors from an MMSelfSup or MMPretrain file; "
        "left out: backbone.mask_token, neck.decoder.0.weight"
    )

    other = build(**other_size)
    torch.save({"state_dict": as_mmpretrain(other) | extra}, tmp_path / "other.pth")
    report = load_backbone(backbone, tmp_path / "other.pth")
    assert report.resized == resized
    assert str(report).endswith(f"; {resized} of them resized to this network's window or image size")
    for key, value in other.state_dict().items():
        found = backbone.state_dict()[key]
        if key.endswith("relative_position_bias_table"):
            torch.testing.assert_close(found, resize_grid(value, 5))
        elif key.endswith("pos_embedding"):
            torch.testing.assert_close(found[0, 1:], resize_grid(value[0, 1:], 4))
        elif not key.endswith("relative_position_index") and key not in layouts_of(other.state_dict())[1].unfolded:
            assert torch.equal(found, value), key
    side = 128 if build is swin else 64
    assert backbone(torch.zeros(1, 3, side, side)).isfinite().all()


@pytest.mark.parametrize("build", [swin, vit])
def test_torchvision_and_indexed_files_and_snapshots_of_transformers_load(tmp_path, build):
    source = build()
    state = source.state_dict()
    index = {key: value for key, value in state.items() if key.endswith("relative_position_index")}
    files = {
        "torchvision.pth": state | {"head.weight": torch.ones(1), "heads.head.bias": torch.ones(1)},
        "snapshot.pth": {f"encoder.backbone.{key}": value for key, value in state.items()},
    }
    for name, content in files.items():
        torch.save(content, tmp_path / name)
    save_file({key: value.contiguous() for key, value in state.items() if key not in index}, tmp_path / "x.safetensors")
    for name in (*files, "x.safetensors"):
        backbone = build()
        assert load_backbone(backbone, tmp_path / name).tensors >= len(state) - len(index)
        assert same(backbone, state), name


@pytest.mark.parametrize(
    ("source", "target", "sentence"),
    [
        (lambda: swin(depths=(1, 1, 3, 1)), swin, "13 not in the model: stages.2.blocks.2.norm1.weight, "),
        (lambda: swin(depths=(1, 1, 1, 1)), swin, "13 missing: stages.2.blocks.1.norm1.weight, "),
        (lambda: swin(width=16), swin, "patch_embed.projection.weight (16, 3, 4, 4) instead of (8, 3, 4, 4)"),
        (lambda: vit(depth=3), vit, "12 not in the model: layers.2.ln1.weight, layers.2.ln1.bias, "),
        (lambda: vit(depth=1), vit, "12 missing: layers.1.ln1.weight, layers.1.ln1.bias, layers.1.attn.qkv.weight"),
        (lambda: vit(width=32), vit, "cls_token (1, 1, 32) instead of (1, 1, 16), "),
        (lambda: swin(), vit, "missing: cls_token, pos_embed, "),
    ],
)  # fmt: skip
def test_transformers_of_another_size_or_kind_are_refused_in_the_files_names(tmp_path, source, target, sentence):
    torch.save({"state_dict": as_mmpretrain(source())}, tmp_path / "file.pth")
    backbone = target()
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    with pytest.raises(ValueError) as error:
        load_backbone(backbone, tmp_path / "file.pth")
    assert sentence in str(error.value)
    assert str(error.value).endswith("give another file or set another depth")
    assert same(backbone, before)
