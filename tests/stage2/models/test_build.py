"""Starting weights of a segmenter: random by seed, a backbone, a whole snapshot, COCO's."""

import hashlib
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
from torch import nn

from Stage1.weights.checkpoints import write_checkpoint
from Stage2.models.build import build_segmenter

CPU = torch.device("cpu")
COCO_FILE = "deeplabv3_resnet101_coco-586e9e4e.pth"


def segmenter(seed: int = 0, **weights):
    return build_segmenter("dlfcn_res18", "grid_proto", "fp32", CPU, seed, **weights)


def same(first: nn.Module, second: nn.Module) -> bool:
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    return all(torch.equal(one, other) for one, other in pairs)


def test_the_seed_decides_the_random_weights():
    first, again, other = segmenter(1), segmenter(1), segmenter(2)
    assert same(first, again)
    assert not same(first.encoder.backbone, other.encoder.backbone)


def test_a_backbone_leaves_the_rest_random_and_a_snapshot_overrides_it(tmp_path):
    source, random = segmenter(1), segmenter(2)
    write_checkpoint({"state_dict": source.encoder.backbone.state_dict()}, tmp_path / "backbone.pth")
    started = segmenter(2, backbone=tmp_path / "backbone.pth")
    assert same(started.encoder.backbone, source.encoder.backbone)
    assert same(started.encoder.localconv, random.encoder.localconv)

    write_checkpoint(random.state_dict(), tmp_path / "5.pth")
    assert same(segmenter(3, snapshot=tmp_path / "5.pth", backbone=tmp_path / "backbone.pth"), random)


def coco_file(source):
    """Content of torchvision's DeepLabV3 with the weights of a segmenter's encoder."""
    names = {"backbone.": "backbone.", "aspp_out.0.": "classifier.0.", "aspp_out.1.": "classifier.1."}
    state = source.encoder.state_dict()
    pairs = ((our, their, key) for our, their in names.items() for key in state if key.startswith(our))
    content = {their + key.removeprefix(our): state[key] for our, their, key in pairs}
    return content | {"classifier.4.weight": torch.ones(1), "aux_classifier.4.bias": torch.ones(1)}


def test_a_backbone_overwrites_that_of_coco(tmp_path):
    coco, ours = segmenter(1), segmenter(2)
    write_checkpoint(coco_file(coco), tmp_path / COCO_FILE)
    write_checkpoint({"state_dict": ours.encoder.backbone.state_dict()}, tmp_path / "backbone.pth")
    started = segmenter(3, backbone=tmp_path / "backbone.pth", coco_folder=tmp_path)
    assert same(started.encoder.backbone, ours.encoder.backbone)
    assert same(started.encoder.aspp_out, coco.encoder.aspp_out)


def test_a_file_of_other_pre_training_fills_the_backbone_and_the_log_says_what_is_random(tmp_path, caplog):
    source = segmenter(1)
    content = {f"backbone.{key}": value for key, value in source.encoder.backbone.state_dict().items()}
    write_checkpoint({"state_dict": content, "meta": {"epoch": 50}}, tmp_path / "epoch_50.pth")
    with caplog.at_level("INFO"):
        started = segmenter(2, snapshot=tmp_path / "epoch_50.pth", or_backbone=True)
    assert same(started.encoder.backbone, source.encoder.backbone)
    assert same(started.encoder.localconv, segmenter(2).encoder.localconv)
    assert "120 tensors from an MMSelfSup or MMPretrain file" in caplog.text
    assert "random, as drawn from the seed: localconv.weight" in caplog.messages
    with pytest.raises(ValueError, match=r"epoch_50\.pth is not a snapshot of this network, dlfcn_res18 \("):
        segmenter(2, snapshot=tmp_path / "epoch_50.pth")


def test_a_compiled_encoder_keeps_the_names_and_values_of_its_weights(monkeypatch):
    compiled = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda module: compiled.append(module))
    plain = segmenter(3)
    assert compiled == []
    model = segmenter(3, compiled=True)
    assert compiled == [model.encoder]
    assert same(model, plain)
    assert list(model.state_dict()) == list(plain.state_dict())


def test_a_compiled_encoder_computes_the_same():
    torch.compiler.reset()
    model = segmenter(3).eval()
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        expected = model.encode(images)
        model.encoder.compile(backend="eager")  # what is traced, without the minutes of code generation
        torch.testing.assert_close(model.encode(images), expected)
    assert list(model.state_dict()) == list(segmenter().state_dict())


def test_missing_coco_weights_without_network_are_named(tmp_path, monkeypatch):
    def unreachable(*args, **kwargs):
        raise URLError("no route to host")

    monkeypatch.setattr(torch.hub, "download_url_to_file", unreachable)
    with pytest.raises(FileNotFoundError) as error:
        segmenter(coco_folder=tmp_path / "pretrained_model")
    assert str(error.value) == (
        f"{tmp_path / 'pretrained_model' / COCO_FILE} is missing and could not be downloaded (<urlopen error no "
        f"route to host>); download https://download.pytorch.org/models/{COCO_FILE} elsewhere and put it there."
    )


def test_coco_weights_are_downloaded_once_and_checked(tmp_path, monkeypatch):
    asked, source = [], segmenter(1)
    coco = coco_file(source)

    def download(url, file, hash_prefix):
        asked.append((url, hash_prefix))
        write_checkpoint(coco, file)

    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    for _ in range(2):
        started = segmenter(coco_folder=tmp_path)
        assert same(started.encoder.backbone, source.encoder.backbone)
        assert same(started.encoder.aspp_out, source.encoder.aspp_out)
        assert same(started.encoder.localconv, segmenter().encoder.localconv)
    assert asked == [(f"https://download.pytorch.org/models/{COCO_FILE}", "586e9e4e")]


def test_a_damaged_download_leaves_no_file(tmp_path, monkeypatch):
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
        segmenter(coco_folder=folder)
    assert list(Path(folder).iterdir()) == []
