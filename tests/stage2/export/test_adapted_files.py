"""An adapted network as an ONNX file: equal to the network for any number of slices, described, absent where it is not.

The example of docs/export.md makes the mask that this code makes, without torch and without this code.
"""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from Stage2.adaptation.confidence import Reference
from Stage2.adaptation.inference import organ_shares
from Stage2.adaptation.network import AdaptedNetwork
from Stage2.datasets.volumes import Statistics
from Stage2.export.adapted_files import (
    NETWORK_FILE,
    Probabilities,
    describe_preparation,
    export_adapted,
    graph_of,
)
from Stage2.export.comparison import open_session
from Stage2.inference.adapted_predictor import Adapted, keep_largest_pieces
from Stage2.inference.transform import scan_transform

ROOT = Path(__file__).resolve().parents[3]
SIDE, LABELS = 64, (2, 5)


@pytest.fixture
def adapted():
    torch.manual_seed(0)
    network = AdaptedNetwork("dlfcn_res18", torch.tensor([0, 1, 2, 2])).eval()  # an organ of two parts
    network.head.parts.weight.data *= 20  # probabilities away from one third
    described = {"names": ["liver", "spleen"]}
    return Adapted(network, LABELS, scan_transform("MR"), SIDE, Reference(((1.0, 2.0), (1.0, 2.0))), described, "abc")


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Folder of an export of the network that `adapted` gives."""
    folder = tmp_path_factory.mktemp("adapted") / "new" / "exported"
    export_adapted(adapted.__wrapped__(), folder, name="mine.safetensors")
    return folder


def test_the_file_gives_what_the_network_gives_and_tells_what_it_is(adapted, exported):
    assert [path.name for path in exported.parent.iterdir()] == ["exported"]
    assert sorted(path.name for path in exported.iterdir()) == ["model.json", "network.onnx"]
    session = open_session(exported / NETWORK_FILE)
    assert [(put.name, put.shape) for put in session.get_inputs()] == [("images", ["B", 3, SIDE, SIDE])]
    for count in (1, 4):
        images = torch.randn(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(count))
        with torch.no_grad():
            expected = Probabilities(adapted.network)(images)
        found = torch.from_numpy(session.run(None, {"images": images.numpy()})[0])
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
        torch.testing.assert_close(found.sum(dim=1), torch.ones(count, SIDE, SIDE))
    described = json.loads((exported / "model.json").read_text())
    assert described["classes"] == [
        {"channel": 0, "label": 0, "name": "background"},
        {"channel": 1, "label": 2, "name": "liver"},
        {"channel": 2, "label": 5, "name": "spleen"},
    ]
    assert (described["side"], described["adapted"], described["sha256"]) == (SIDE, "mine.safetensors", "abc")
    assert described["files"] == {NETWORK_FILE: graph_of(adapted)}
    assert described["checked"]["probability_difference"] < 1e-4
    assert set(described["versions"]) == {"torch", "onnx", "onnxscript", "onnxruntime"}


def test_a_difference_leaves_no_file(adapted, exported, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "Stage2.export.adapted_files.write_graph", lambda module, path, graph: shutil.copy(exported / path.name, path)
    )
    export_adapted(adapted, tmp_path / "same")
    for fault in (0.05, torch.nan):
        adapted.network.head.parts.bias.data[1] += fault
        with pytest.raises(ValueError, match=r"the exported file differs from the network by .* Nothing was written"):
            export_adapted(adapted, tmp_path / "other")
    assert [path.name for path in tmp_path.iterdir()] == ["same"]


def test_the_example_gives_this_codes_mask_without_torch(adapted, exported, tmp_path):
    shutil.copytree(exported, tmp_path / "exported")
    images = np.random.default_rng(0).normal(size=(5, SIDE, SIDE)).astype(np.float32)
    images[:, 20:40, 20:40] += 2
    np.save(tmp_path / "images.npy", images)
    _, example = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "export.md").read_text(), re.DOTALL)
    alone = "import sys\nsys.modules |= dict.fromkeys(['torch', 'Stage2', 'Stage1'])\n"  # an import of these fails
    done = subprocess.run(
        [sys.executable, "-c", alone + example], cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    shares = organ_shares(adapted.network, torch.from_numpy(images))
    keep_largest_pieces(shares)
    expected = np.where(shares[:, 1:].amax(dim=1) > 0.5, np.array([0, *LABELS])[1 + shares[:, 1:].argmax(dim=1)], 0)
    found = np.load(tmp_path / "mask.npy")
    assert {0} < set(np.unique(expected))
    assert (found != expected).mean() < 1e-3


@pytest.mark.parametrize(
    ("transform", "said"),
    [
        (scan_transform("MR", spacing=(1.5, 1.5, 5.0), axes="stored"), "voxels of 1.5 x 1.5 x 5 mm"),
        (scan_transform("MR"), "voxels of 1.25 x 1.25 x 7.7 mm"),
        (scan_transform("CT", statistics=Statistics(80.0, 60.0)), "32 pixels cut off each border"),
        (scan_transform("MR", prepared=True), "the scan is prepared already"),
    ],
    ids=["stored", "MR", "CT", "prepared"],
)
def test_the_preparation_is_told(transform, said):
    described = describe_preparation(transform, 192)
    assert said in "; ".join(described["steps"])
    assert described["steps"][-1] == "slices resized to 192 x 192 pixels, bilinear with anti-aliasing"
    assert described["normalisation"]["of"] == ("each volume: its own mean and standard deviation over all voxels"
                                                if transform.modality == "MR" else "all volumes")  # fmt: skip
    assert described["axes"] == transform.axes
    json.dumps(described)
