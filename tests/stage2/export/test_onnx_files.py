"""ONNX files: equal to the segmenter for any number of slices and shots, and absent where they are not."""

import json
import shutil

import numpy as np
import pytest
import torch
from torch import nn

from Stage1.models.transformers import SwinBackbone, VisionTransformerBackbone
from Stage2.datasets.volumes import Statistics
from Stage2.export.comparison import AnnotatedSlices, list_supports, open_session
from Stage2.export.onnx_files import ENCODER_FILE, GRAPHS, export_segmenter, write_graph
from Stage2.models.encoders import Encoder
from Stage2.models.few_shot import FewShotSegmenter
from Stage2.models.registry import HEADS


class Patches(nn.Sequential):
    """The smallest encoder: features of 8 x 8 patches, passed through a batch norm as the real ones."""

    name = "patches"

    def __init__(self):
        super().__init__(nn.Conv2d(3, 256, 8, stride=8), nn.BatchNorm2d(256))


@pytest.fixture(scope="module")
def slices():
    rng = np.random.default_rng(0)
    masks = np.zeros((4, 256, 256), dtype=bool)
    masks[1:, 60:140, 60:140] = True
    images = (rng.normal(0, 0.3, masks.shape) + masks).astype(np.float32)
    return AnnotatedSlices(images, {"organ": masks})


def segmenter(kind="grid_proto"):
    torch.manual_seed(0)
    model = FewShotSegmenter("dlfcn_res18", kind)
    model.encoder = Patches()
    return model


@pytest.fixture(scope="module")
def exported(slices, tmp_path_factory):
    """(folder, comparison) of an export by kind of prototypes."""
    folders = {kind: tmp_path_factory.mktemp(kind) / "new" / "exported" for kind in HEADS}
    statistics = Statistics(5.0, 2.0)
    return {
        kind: (folder, export_segmenter(segmenter(kind), 2, folder, slices, statistics=statistics))
        for kind, folder in folders.items()
    }


@pytest.mark.parametrize("kind", HEADS)
def test_files_tell_what_they_are_and_were_compared_on_every_branch(kind, exported, slices):
    folder, comparison = exported[kind]
    assert sorted(path.name for path in folder.iterdir()) == ["encoder.onnx", "head.onnx", "model.json"]
    assert [path.name for path in folder.parent.iterdir()] == ["exported"]
    assert comparison.episodes == len(list_supports(slices))
    assert comparison.logit_difference < 1e-3
    described = json.loads((folder / "model.json").read_text())
    assert (described["prototypes"], described["pooling_window"]) == (kind, 2)
    assert described["support_without_background"] == ("NaN logits" if kind == "grid_proto" else "allowed")
    assert described["normalisation"] == {"of": "all volumes", "mean": 5.0, "std": 2.0}
    assert described["files"] == GRAPHS
    for name, graph in GRAPHS.items():
        session = open_session(folder / name)
        assert {put.name: put.shape for put in session.get_inputs()} == graph["inputs"]
        assert [put.name for put in session.get_outputs()] == list(graph["outputs"])


def test_supports_take_one_shot_several_and_every_branch(slices):
    supports = list_supports(slices)
    assert sorted(len(places) for places, _ in supports) == [1, 1, 1, 1, 1, 2, 2, 3]
    assert {0.0, 1.0} < {float(masks.mean()) for _, masks in supports}


@pytest.mark.parametrize("fault", ["none", "weights", "window", "not finite"])
def test_a_difference_leaves_no_file_and_an_earlier_export_as_it_was(fault, exported, slices, tmp_path, monkeypatch):
    """The graphs are those of a network of the same weights but for the fault."""
    graphs, _ = exported["grid_proto"]
    copy = "Stage2.export.onnx_files.write_graph"
    monkeypatch.setattr(copy, lambda module, path: shutil.copy(graphs / path.name, path))
    model = segmenter()
    if fault == "weights":
        model.encoder[0].weight.data[3] += 0.05
    elif fault == "not finite":
        model.encoder[0].bias.data[3] = torch.nan
    folder = tmp_path / "exported"
    folder.mkdir()
    (folder / ENCODER_FILE).write_text("earlier")
    if fault == "none":
        export_segmenter(model, 2, folder, slices)
        assert (folder / ENCODER_FILE).read_bytes() == (graphs / ENCODER_FILE).read_bytes()
        return
    with pytest.raises(ValueError, match=r"the exported files differ from the segmenter by .* Nothing was written"):
        export_segmenter(model, 4 if fault == "window" else 2, folder, slices)
    assert [path.name for path in tmp_path.iterdir()] == ["exported"]
    assert [(path.name, path.read_text()) for path in folder.iterdir()] == [(ENCODER_FILE, "earlier")]


@pytest.mark.parametrize(
    "backbone",
    [
        lambda: SwinBackbone(width=8, depths=(2, 1), heads=(1, 1)),
        lambda: VisionTransformerBackbone(width=16, depth=1, heads=2),
    ],
    ids=["swin", "vit"],
)
def test_transformers_take_any_number_of_slices(backbone, tmp_path):
    torch.manual_seed(0)
    encoder = Encoder("dlfcn_res18")
    encoder.backbone = backbone()
    encoder.upsampling = encoder.backbone.stride // 8
    encoder.localconv = nn.Conv2d(encoder.backbone.out_channels, 256, 1, bias=False)
    write_graph(encoder, tmp_path / ENCODER_FILE)
    session = open_session(tmp_path / ENCODER_FILE)
    for count in (1, 3):
        images = torch.randn(count, 3, 256, 256)
        with torch.no_grad():
            expected = encoder(images)
        found = session.run(None, {"images": images.numpy()})[0]
        torch.testing.assert_close(torch.from_numpy(found), expected, atol=1e-4, rtol=1e-4)


def test_a_file_in_the_way(slices, tmp_path):
    (tmp_path / "exported").write_text("")
    with pytest.raises(ValueError, match=r"found a file at .*exported, expected the name of a folder"):
        export_segmenter(segmenter(), 2, tmp_path / "exported", slices)
