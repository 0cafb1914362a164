"""Starting weights of backbones: what loads and from where, what is refused, what is said about it."""

import hashlib
import logging
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
from mmengine.logging import HistoryBuffer
from safetensors.torch import save_file

from Stage2.models.layouts import layouts_of, resize_grid
from Stage2.models.resnets import DilatedResNet, PlainResNet
from Stage2.models.starting_weights import load_backbone, load_coco_backbone
from Stage2.models.transformers import SwinBackbone, VisionTransformerBackbone


@pytest.fixture
def backbone():
    return DilatedResNet("dlfcn_res18")


@pytest.fixture(scope="module")
def weights():
    torch.manual_seed(5)
    return DilatedResNet("dlfcn_res18").state_dict()


def swin(window=3, width=8, depths=(1, 1, 2, 1)):
    return SwinBackbone(width, depths, heads=(1, 2, 2, 4), window=window).eval()


def vit(image_size=64, width=16, depth=2):
    return VisionTransformerBackbone(width, depth, heads=2, image_size=image_size).eval()


def same(module, weights):
    return all(torch.equal(value, weights[key]) for key, value in module.state_dict().items())


def as_mmpretrain(backbone):
    """State dict under MMPretrain's names behind its prefix; the order of merged cells does not matter here."""
    own = backbone.state_dict()
    return {f"backbone.{key}": own[our] for key, our in layouts_of(backbone)[1].keys.items()}


@pytest.mark.parametrize(
    "wrap",
    [
        lambda weights: {"state_dict": weights, "author": "x"},
        lambda weights: weights | {"fc.weight": torch.ones(1000, 512), "fc.bias": torch.ones(1000)},
        lambda weights: {"state_dict": {f"backbone.{key}": value for key, value in weights.items()}},
        lambda weights: {"state_dict": {f"module.backbone.{key}": value for key, value in weights.items()}},
        lambda weights: {
            "state_dict": {f"encoder_q.0.{key}": value for key, value in weights.items()}
            | {f"encoder_k.0.{key}": value + 1 for key, value in weights.items()}
            | {"queue": torch.ones(2, 2)}
        },
        lambda weights: (
            {f"encoder.backbone.{key}": value for key, value in weights.items()}
            | {"encoder.localconv.weight": torch.ones(1)}
        ),
    ],
    ids=["stage 1 file", "torchvision", "backbone prefix", "data-parallel", "full DenseCL", "snapshot of stage 2"],
)
def test_resnet_files_load_wholly(tmp_path, backbone, weights, wrap):
    torch.save(wrap(dict(weights)), tmp_path / "file.pth")
    assert not same(backbone, weights)
    load_backbone(backbone, tmp_path / "file.pth")
    assert same(backbone, weights)


def test_simclr_file_of_mmpretrain_loads_into_a_plain_resnet(tmp_path, caplog):
    """A training checkpoint of MMEngine, which keeps more than weights and plain values."""
    torch.manual_seed(6)
    source, backbone = PlainResNet("dlfcn_res50_mmcv"), PlainResNet("dlfcn_res50_mmcv")
    state = {f"backbone.{key}": value for key, value in source.state_dict().items()}
    state |= {"neck.fc0.weight": torch.ones(2), "neck.fc0.bias": torch.ones(2), "neck.bn0.weight": torch.ones(2)}
    content = {
        "meta": {"epoch": 100},
        "state_dict": state,
        "message_hub": {"log_scalars": {"loss": HistoryBuffer([1.0], [1])}},
    }
    torch.save(content, tmp_path / "simclr.pth")
    with caplog.at_level(logging.INFO):
        load_backbone(backbone, tmp_path / "simclr.pth")
    assert same(backbone, source.state_dict())
    said = f"loaded the backbone from {tmp_path / 'simclr.pth'}: all 318 tensors, under torchvision's names; "
    assert caplog.messages == [f"{said}left out: neck.* (3)"]


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
    unordered = [key for key in source.state_dict() if key not in layouts_of(source)[1].unfolded]
    assert all(torch.equal(backbone.state_dict()[key], source.state_dict()[key]) for key in unordered)
    assert (report.layout, report.resized) == ("MMPretrain", 0)
    assert str(report) == (
        f"all {len(as_mmpretrain(source))} tensors, under MMPretrain's names; "
        "left out: backbone.mask_token, neck.decoder.0.weight"
    )

    other = build(**other_size)
    torch.save({"state_dict": as_mmpretrain(other) | extra}, tmp_path / "other.pth")
    report = load_backbone(backbone, tmp_path / "other.pth")
    assert report.resized == resized
    assert f"; {resized} of them resized to this network's window or image size; left out: " in str(report)
    for key, value in other.state_dict().items():
        found = backbone.state_dict()[key]
        if key.endswith("relative_position_bias_table"):
            torch.testing.assert_close(found, resize_grid(value, 5))
        elif key.endswith("pos_embedding"):
            torch.testing.assert_close(found[0, 1:], resize_grid(value[0, 1:], 4))
        elif not key.endswith("relative_position_index") and key not in layouts_of(other)[1].unfolded:
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
        assert load_backbone(backbone, tmp_path / name).layout == "torchvision"
        assert same(backbone, state), name


def test_a_file_without_step_counters_is_complete(tmp_path, backbone, weights):
    content = {key: value for key, value in weights.items() if not key.endswith("num_batches_tracked")}
    torch.save(content, tmp_path / "file.pth")
    report = load_backbone(backbone, tmp_path / "file.pth")
    assert same(backbone, weights)
    assert "20 num_batches_tracked counters are not in the file and stay 0; left out: nothing" in str(report)


def test_partly_matching_backbone_is_refused_and_says_what_differs(tmp_path, backbone, weights):
    changed = dict(weights)
    del changed["layer2.0.conv1.weight"]
    changed["layer9.weight"] = torch.ones(3)
    changed["conv1.weight"] = torch.ones(64, 1, 7, 7)
    torch.save({"state_dict": changed}, tmp_path / "file.pth")
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    with pytest.raises(ValueError) as error:
        load_backbone(backbone, tmp_path / "file.pth")
    for part in (
        "1 missing: layer2.0.conv1.weight",
        "1 not known: layer9.weight",
        "1 of another shape: conv1.weight (64, 1, 7, 7) instead of (64, 3, 7, 7)",
    ):
        assert part in str(error.value)
    assert same(backbone, before)


@pytest.mark.parametrize(
    ("source", "target", "sentence"),
    [
        (lambda: swin(depths=(1, 1, 3, 1)), swin, "13 not known: stages.2.blocks.2.norm1.weight, "),
        (lambda: swin(depths=(1, 1, 1, 1)), swin, "13 missing: stages.2.blocks.1.norm1.weight, "),
        (lambda: swin(width=16), swin, "patch_embed.projection.weight (16, 3, 4, 4) instead of (8, 3, 4, 4)"),
        (lambda: vit(depth=3), vit, "12 not known: layers.2.ln1.weight, layers.2.ln1.bias, layers.2.attn.qkv.weight"),
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
    assert str(error.value).endswith("choose the modelname it was made with.")
    assert same(backbone, before)


def test_a_file_that_matches_nothing_is_refused_and_says_what_was_sought(tmp_path, backbone):
    torch.save({"state_dict": as_mmpretrain(vit())}, tmp_path / "file.pth")
    with pytest.raises(ValueError) as error:
        load_backbone(backbone, tmp_path / "file.pth")
    message = str(error.value)
    assert message.startswith(f"{tmp_path / 'file.pth'} has no layer of the backbone: found backbone.cls_token, ")
    assert "expected conv1.weight, bn1.weight, ... (or the same after backbone., encoder_q.0., " in message


def test_missing_and_broken_files(tmp_path, backbone):
    with pytest.raises(FileNotFoundError, match="found no file"):
        load_backbone(backbone, tmp_path / "nothing.pth")
    (tmp_path / "text.pth").write_text("not weights")
    with pytest.raises(ValueError, match="found a text file"):
        load_backbone(backbone, tmp_path / "text.pth")
    torch.save({"state_dict": 3}, tmp_path / "number.pth")
    with pytest.raises(ValueError, match="holds a int as state_dict; expected the weights by name"):
        load_backbone(backbone, tmp_path / "number.pth")
    torch.save({"epoch": 3}, tmp_path / "empty.pth")
    with pytest.raises(ValueError, match=r"has no layer of the backbone: found no tensor, expected conv1.weight"):
        load_backbone(backbone, tmp_path / "empty.pth")


COCO_FILE = "deeplabv3_resnet101_coco-586e9e4e.pth"


def test_missing_coco_weights_without_network_are_named(tmp_path, monkeypatch, backbone):
    def unreachable(*args, **kwargs):
        raise URLError("no route to host")

    monkeypatch.setattr(torch.hub, "download_url_to_file", unreachable)
    with pytest.raises(FileNotFoundError) as error:
        load_coco_backbone(backbone, tmp_path / "pretrained_model")
    assert str(error.value) == (
        f"{tmp_path / 'pretrained_model' / COCO_FILE} is missing and could not be downloaded (<urlopen error no "
        f"route to host>); download https://download.pytorch.org/models/{COCO_FILE} elsewhere and put it there."
    )


def test_coco_weights_are_downloaded_once_and_checked(tmp_path, monkeypatch, backbone, weights):
    asked = []

    def download(url, file, hash_prefix):
        asked.append((url, hash_prefix))
        content = {f"backbone.{key}": value for key, value in weights.items()}
        torch.save(content | {"classifier.4.weight": torch.ones(1), "aux_classifier.4.bias": torch.ones(1)}, file)

    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    for _ in range(2):
        report = load_coco_backbone(backbone, tmp_path)
        assert same(backbone, weights)
        assert report.left_out == ("aux_classifier.4.bias", "classifier.4.weight")
    assert asked == [(f"https://download.pytorch.org/models/{COCO_FILE}", "586e9e4e")]


def test_a_damaged_download_leaves_no_file(tmp_path, backbone, monkeypatch):
    """What torch.hub does with a file of another hash, on a file instead of the network."""
    served = tmp_path / "served"
    served.write_bytes(b"cut off")
    assert not hashlib.sha256(served.read_bytes()).hexdigest().startswith("586e9e4e")
    download = torch.hub.download_url_to_file
    monkeypatch.setattr(
        torch.hub, "download_url_to_file", lambda url, file, hash_prefix: download(served.as_uri(), file, hash_prefix)
    )
    folder = tmp_path / "pretrained_model"
    with pytest.raises(FileNotFoundError, match=r"could not be downloaded .*invalid hash value"):
        load_coco_backbone(backbone, folder)
    assert list(Path(folder).iterdir()) == []
