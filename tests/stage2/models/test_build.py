"""Starting weights of a segmenter: random by seed, a backbone, a whole snapshot, COCO's."""

import torch
from torch import nn

from Stage1.weights.checkpoints import write_checkpoint
from Stage2.models import build
from Stage2.models.build import build_segmenter

CPU = torch.device("cpu")


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


def test_coco_weights_are_asked_for_only_without_other_weights(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(build, "load_coco_backbone", lambda backbone, folder: asked.append(folder))
    write_checkpoint({"state_dict": segmenter().encoder.backbone.state_dict()}, tmp_path / "backbone.pth")
    segmenter(backbone=tmp_path / "backbone.pth", coco_folder=tmp_path)
    assert asked == []
    segmenter(coco_folder=tmp_path)
    assert asked == [tmp_path]


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
