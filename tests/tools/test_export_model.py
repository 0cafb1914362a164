"""tools/export_model.py as a user runs it, and the example of docs/export.md without torch and without this code."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from tool_modules import load_tool

from Stage2.adaptation.network import AdaptedNetwork
from Stage2.adaptation.network_file import ADAPTED, write_network
from Stage2.datasets.episodes import three_channels
from Stage2.models.few_shot import FewShotSegmenter

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def export():
    """The command's main function."""
    module = load_tool("export_model")
    return lambda *arguments: module.main([str(argument) for argument in arguments])


def write(path, volume, spacing=(1.25, 1.25, 7.7)):
    image = sitk.GetImageFromArray(volume)
    image.SetSpacing(spacing)
    sitk.WriteImage(image, str(path))
    return path


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """Folder with a snapshot of an untrained ResNet-18 in a run folder, and a scan of an organ and a smaller one."""
    folder = tmp_path_factory.mktemp("inputs")
    torch.manual_seed(0)
    (folder / "run" / "snapshots").mkdir(parents=True)
    torch.save(FewShotSegmenter("dlfcn_res18").state_dict(), folder / "run" / "snapshots" / "5.pth")
    label = np.zeros((3, 256, 256), dtype=np.uint8)
    label[:, 60:140, 80:160] = 1
    label[1, 200:210, 30:40] = 2
    image = np.random.default_rng(0).normal(300, 30, label.shape).astype(np.float32) + 200 * label
    write(folder / "image.nii.gz", image)
    write(folder / "label.nii.gz", label)
    return folder


@pytest.fixture(scope="module")
def exported(inputs, export, tmp_path_factory):
    folder = tmp_path_factory.mktemp("work") / "exported"
    assert export(inputs / "run", folder, "--check", inputs / "image.nii.gz", inputs / "label.nii.gz") == 0
    return folder


def test_a_run_folder_is_enough(exported):
    described = json.loads((exported / "model.json").read_text())
    assert (described["encoder"], described["prototypes"]) == ("dlfcn_res18", "grid_proto")
    assert described["snapshot"] == "5.pth"
    assert described["checked"]["slices"] == 3
    assert described["checked"]["episodes"] == 2 * 2 + 6
    assert described["checked"]["changed_mask_pixels"] <= 1e-4


def test_the_example_gives_the_segmenters_mask_without_torch(inputs, exported):
    volume, label = (
        sitk.GetArrayFromImage(sitk.ReadImage(str(inputs / f"{name}.nii.gz"))) for name in ("image", "label")
    )
    work = exported.parent
    for name, array in (("support", volume), ("mask", label == 1), ("query", volume[::-1])):
        np.save(work / f"{name}.npy", array)
    example, _ = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "export.md").read_text(), re.DOTALL)
    alone = "import sys\nsys.modules |= dict.fromkeys(['torch', 'Stage2', 'Stage1'])\n"  # an import of these fails
    command = [sys.executable, "-c", alone + example]
    done = subprocess.run(command, cwd=work, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr

    model = FewShotSegmenter("dlfcn_res18").eval()
    model.load_state_dict(torch.load(inputs / "run" / "snapshots" / "5.pth", weights_only=True))
    images = (volume - volume.mean()) / volume.std()
    mask = torch.from_numpy(label[:1] == 1).float()
    with torch.no_grad():
        features = model.encode(three_channels(images[:1]))
        prototypes = model.prototypes(features, mask, 1 - mask, 2)
        expected = model.segment(three_channels(images[::-1].copy()), prototypes).argmax(dim=1).numpy()
    found = np.load(work / "predicted.npy")
    assert found.shape == (3, 256, 256)
    assert 0.01 < found.mean() < 0.99
    assert (found != expected).mean() < 1e-4


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nothing.pth", "out"], "found no file nothing.pth"),
        (["image.nii.gz", "out"], "is not a readable checkpoint"),
        (["run", "label.nii.gz"], "found a file at"),
        (["run", "out", "--modelname", "dlfcn_res50"], "is a snapshot of dlfcn_res18 and this network is dlfcn_res50"),
        (["run", "out", "--label", "1"], "--label names organs of the scan in --check"),
        (["run", "out", "--statistics", "3", "0"], "standard deviation 0.0; expected numbers, the latter above 0"),
        (["run", "out", "--statistics", "nan", "50"], "has the mean nan and the standard deviation 50.0; expected"),
        (["run", "out", "--statistics", "3", "inf"], "has the mean 3.0 and the standard deviation inf; expected"),
        (["run", "out", "--check", "image.nii.gz", "none.nii.gz"], "none.nii.gz is missing"),
        (["run", "out", "--check", "image.nii.gz", "label.nii.gz", "--label", "7"], "label 7 is not in"),
        (["run", "out", "--check", "image.nii.gz", "empty.nii.gz"], "is 0 everywhere"),
        (["run", "out", "--check", "image.nii.gz", "image.nii.gz"], "expected the label of the scan: whole numbers"),
        (["run", "out", "--check", "image.nii.gz", "short.nii.gz"], "short.nii.gz has 256 x 256 x 2 voxels"),
        (["run", "out", "--check", "image.nii.gz", "elsewhere.nii.gz"], "elsewhere.nii.gz"),
        (["run", "out", "--check", "small.nii.gz", "small.nii.gz"], "small.nii.gz has slices of 64 x 64 pixels"),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_nothing(export, inputs, arguments, sentence, capsys, monkeypatch):
    label = np.zeros((3, 256, 256), dtype=np.uint8)
    write(inputs / "empty.nii.gz", label)
    write(inputs / "short.nii.gz", label[:2] + 1)
    write(inputs / "elsewhere.nii.gz", label + 1, spacing=(1.25, 1.25, 3))
    write(inputs / "small.nii.gz", np.ones((3, 64, 64), dtype=np.float32))
    before = sorted(inputs.iterdir())
    monkeypatch.chdir(inputs)
    assert export(*arguments) == 1
    assert sorted(inputs.iterdir()) == before
    printed = capsys.readouterr().err.strip().splitlines()
    assert len(printed) == 1
    assert sentence in printed[0]


def test_a_window_that_does_not_fit(export, capsys):
    with pytest.raises(SystemExit):
        export("snapshot.pth", "out", "--window", "5")
    assert "5 does not divide the feature grid's side, 32" in capsys.readouterr().err


@pytest.fixture(scope="module")
def adapted(tmp_path_factory):
    """A file of an adapted network that knows nothing."""
    path = tmp_path_factory.mktemp("adapted") / "adapted.safetensors"
    described = {
        "labels": [3],
        "names": ["liver"],
        "transform": {"modality": "MR", "spacing": None, "statistics": None},
        "side": 32,
        "reference": {"volumes": [[1.0, 2.0]], "errors": [[]]},
    }
    write_network(path, ADAPTED, AdaptedNetwork("dlfcn_res18", 1), described)
    return path


def test_an_adapted_network_is_told_by_its_file(export, adapted, tmp_path, capsys):
    assert export(adapted, tmp_path / "exported") == 0
    assert "Wrote network.onnx (" in capsys.readouterr().out
    described = json.loads((tmp_path / "exported" / "model.json").read_text())
    assert described["classes"][1] == {"channel": 1, "label": 3, "name": "liver"}


@pytest.mark.parametrize(
    "option",
    [
        ["--modelname", "dlfcn_res18"],
        ["--clsname", "grid_proto"],
        ["--window", "2"],
        ["--statistics", "1", "2"],
        ["--check", "image.nii.gz", "label.nii.gz"],
        ["--label", "1"],
    ],
    ids=lambda option: option[0],
)
def test_options_of_snapshots_are_refused_for_an_adapted_network(export, adapted, option, tmp_path, capsys):
    assert export(adapted, tmp_path / "exported", *option) == 1
    printed = capsys.readouterr().err.strip()
    assert f"{option[0]} is for snapshots" in printed
    assert "\n" not in printed
    assert not (tmp_path / "exported").exists()
