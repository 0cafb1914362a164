"""The feature judge: its table and JSON on a tiny data set, what it loads, and one line for every mistake."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from tool_modules import load_tool
from torchvision.models import resnet34

from Stage1.models.densecl import DenseCL
from Stage1.models.transformers import SwinBackbone, VisionTransformerBackbone
from Stage2.datasets.catalog import get_dataset
from Stage2.evaluation import judge as judge_module
from Stage2.evaluation.probe import network_up_to
from Stage2.models.resnets import DilatedResNet

ROOT = Path(__file__).resolve().parents[2]
ORGANS = ["LIVER", "RK", "LK", "SPLEEN"]


@pytest.fixture(scope="module")
def tool():
    """The module tools/evaluate_features.py."""
    return load_tool("evaluate_features")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Processed folder of three scans with two slices of four bright organs."""
    folder = tmp_path_factory.mktemp("processed")
    for scan in range(3):
        label = np.zeros((2, 256, 256), dtype=np.uint8)
        for value, row, column in [(1, 16, 16), (2, 16, 144), (3, 144, 16), (4, 144, 144)]:
            label[:, row + 8 * scan : row + 80, column : column + 80] = value
        image = label * 200.0 + np.random.default_rng(scan).normal(300, 40, label.shape)
        sitk.WriteImage(sitk.GetImageFromArray(image.astype(np.float32)), str(folder / f"image_{scan}.nii.gz"))
        sitk.WriteImage(sitk.GetImageFromArray(label), str(folder / f"label_{scan}.nii.gz"))
    return folder


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> dict[str, Path]:
    """A Stage 1 checkpoint and the same backbone as other tools keep it; files that hold none; another ResNet."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(5)
    model = DenseCL(depth=18, queue_length=16)
    backbone = {key: value for key, value in model.backbone.state_dict().items() if "num_batches" not in key}
    contents = {
        "checkpoint": {"state_dict": model.state_dict()},
        "backbone": {"state_dict": backbone, "author": "DenseMP"},
        "snapshot": {f"encoder.backbone.{key}": value for key, value in backbone.items()},
        "no_resnet": {"state_dict": {"blocks.0.weight": torch.zeros(2)}},
        "resnet34": resnet34().state_dict(),
        "cut": {key: value for key, value in backbone.items() if not key.startswith("layer4.1.bn2")},
    }
    for name, content in contents.items():
        torch.save(content, folder / f"{name}.pth")
    (folder / "text.pth").write_text("no weights")
    return {path.stem: path for path in folder.glob("*.pth")}


@pytest.fixture
def judge(tool, folder, monkeypatch, capsys):
    """Runs the tool on the tiny data set: arguments -> (exit status, stdout, stderr)."""
    tiny = dataclasses.replace(get_dataset("CHAOST2"), fold_boundaries=(0, 1, 2, 3))
    monkeypatch.setattr(judge_module, "get_dataset", lambda name: tiny if name == "CHAOST2" else get_dataset(name))

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        defaults = ["--data", folder, "--dataset", "CHAOST2", "--slices-per-scan", 1, "--device", "cpu"]
        status = tool.main([*map(str, arguments[:1]), *map(str, defaults), *map(str, arguments[1:])])
        return status, *capsys.readouterr()

    return run


def test_table_and_json(judge, weights, tmp_path):
    out = tmp_path / "new" / "results.json"
    status, table, errors = judge(weights["checkpoint"], "--random", "--random-seeds", 2, "--stage", "C4", "--out", out)
    assert status == 0, errors
    results = json.loads(out.read_text())
    assert [path.name for path in out.parent.iterdir()] == ["results.json"]
    assert (results["training_scans"], results["held_out_scans"]) == (["2"], ["0"])
    assert results["training_slices"] == results["held_out_slices"] == 1
    assert results["held_out_cells"]["LIVER"] == 8 * 10 + 2 * 10  # rows 16 to 95, columns 16 to 95
    rows = results["results"]
    conditions = [(norm, probe) for norm in ("saved", "adapted") for probe in ("knn", "linear")]
    assert [(row["batch_norm"], row["probe"]) for row in rows] == conditions * 2
    assert [row["weights"] for row in rows] == [str(weights["checkpoint"])] * 4 + ["random"] * 4
    assert {row["depth"] for row in rows} == {18}  # the untrained network is as deep as the file's
    assert rows[-1]["seeds"] == [1234, 1235]
    assert rows[0]["mean_dice_deviation"] is None
    assert rows[-1]["mean_dice_deviation"] > 0
    for row in rows:
        assert list(row["dice"]) == ORGANS
        assert list(row["recall"]) == ["BG", *ORGANS]
        assert row["mean_dice"] == pytest.approx(np.mean(list(row["dice"].values())))
        assert row["balanced_accuracy"] > 0.4  # brightness tells the organs; 0.2 by chance
    lines = [line for line in table.splitlines() if line.startswith("|")]
    assert len(lines) == 2 + 8
    assert lines[-1].startswith("| random (ResNet-18, 2 seeds)")
    assert f"{rows[-1]['mean_dice']:.3f} ± {rows[-1]['mean_dice_deviation']:.3f}" in lines[-1]


def test_the_same_backbone_scores_the_same_in_every_file_and_run(judge, weights, tmp_path):
    quick = ["--batch-norm", "saved", "--stage", "C4", "--out"]
    files = [weights[name] for name in ("checkpoint", "backbone", "snapshot")]
    found = []
    for number, path in enumerate([*files, files[0]]):
        out = tmp_path / f"{number}.json"
        assert judge(path, *quick, out)[0] == 0
        found.append(json.loads(out.read_text()))
        for row in found[-1]["results"]:
            del row["weights"]
    assert found[0] == found[1] == found[2] == found[3]


def test_transformers_are_judged_by_their_last_stage(judge, tmp_path):
    """A Swin of any file has one row a probe, for it has no batch norm; 'random' is the same network, untrained."""
    swin = SwinBackbone(8, (1, 1, 1, 1), (1, 1, 2, 2), window=2)
    names = {"backbone": swin.state_dict(), "checkpoint": {f"backbone.{k}": v for k, v in swin.state_dict().items()}}
    for name, state in names.items():
        torch.save({"state_dict": state}, tmp_path / f"{name}.pth")
    found = []
    for name in names:
        out = tmp_path / "results.json"
        status, table, errors = judge(tmp_path / f"{name}.pth", "--random", "--probe", "knn", "--out", out)
        assert status == 0, errors
        rows = json.loads(out.read_text())["results"]
        assert [(row["network"], row["depth"], row["batch_norm"]) for row in rows] == [(swin.name, None, "none")] * 2
        assert f"| random ({swin.name})" in table
        found.append([row["dice"] for row in rows])
    assert found[0] == found[1]
    assert found[0][0] != found[0][1]
    status, _, errors = judge(tmp_path / "backbone.pth", "--stage", "C4")
    assert status == 1
    assert f"found --stage C4 for {tmp_path / 'backbone.pth'}, a {swin.name}, expected C5" in errors


@torch.no_grad()
def test_a_vit_of_any_image_size_is_judged_on_whole_slices(tmp_path):
    vit = VisionTransformerBackbone(64, 1, 1, image_size=32)
    torch.save(vit.state_dict(), tmp_path / "vit.pth")
    file, random = judge_module.list_candidates([str(tmp_path / "vit.pth")], True, None, [7, 8])
    (backbone,) = file.backbones()
    assert torch.equal(backbone.conv_proj.weight, vit.conv_proj.weight)
    features = network_up_to(backbone.eval(), "C5")(torch.zeros(1, 3, 256, 256))
    assert features.shape == (1, 64, 32, 32)
    first, second = random.backbones()
    assert first.name == second.name == vit.name
    assert not torch.equal(first.conv_proj.weight, second.conv_proj.weight)
    torch.save(VisionTransformerBackbone(48, 1, 1, image_size=32).state_dict(), tmp_path / "odd.pth")
    with pytest.raises(ValueError, match=r"found a ViT of 48 channels, expected a multiple of 64.*odd\.pth; give"):
        judge_module.list_candidates([str(tmp_path / "odd.pth")], False, None, [7])


def test_random_alone_is_the_network_that_stage_2_starts_from():
    (candidate,) = judge_module.list_candidates(["random", "random"], True, 18, [7])
    (backbone,) = candidate.backbones()
    torch.manual_seed(7)
    expected = DilatedResNet(18).state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in backbone.state_dict().items())
    (deep,) = judge_module.list_candidates(["random"], False, None, [7])
    assert deep.network.depth == 101


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["random", "--data", "{unlabelled}"], "label_2.nii.gz does not exist; the probes learn from labels"),
        (["random", "--data", "{unlabelled}/absent"], "is not a folder"),
        (["random", "--fold", "3"], "--fold 3 is not a fold of CHAOST2; choose 0 to 2"),
        (["random", "--dataset", "CHAOS"], "dataset=CHAOS is unknown; choose one of CHAOST2, SABS"),
        (["random", "--dataset", "SABS"], "SABS has folds for 30 scans, but 3 were found"),
        (["{no_resnet}"], "no_resnet.pth (it holds blocks.0.weight), expected"),
        (["{resnet34}"], "found a ResNet-34 in"),
        (["{cut}"], "found a backbone without layer4.1.bn2.weight, layer4.1.bn2.bias"),
        (["{text}"], "found a text file at"),
        (["absent.pth"], "found no file absent.pth"),
        (["--seed=1"], "found no weights to judge"),
        (["random", "--depth", "18", "--cells-per-class", "2", "--neighbours", "99"], "for 99 neighbours"),
        (["random", "--out", "{unlabelled}"], "is a folder, expected the name of a file"),
    ],
)
def test_mistakes_are_one_line(judge, folder, weights, tmp_path, arguments, sentence):
    for path in folder.glob("image_*"):
        shutil.copy(path, tmp_path)
    status, table, errors = judge(*(argument.format(unlabelled=tmp_path, **weights) for argument in arguments))
    assert (status, table) == (1, "")
    assert sentence in errors
    assert errors.startswith("evaluate_features.py: error: ")
    assert len(errors.splitlines()) == 1


def test_a_folder_that_cannot_be_written_is_told_before_anything_is_computed(judge, weights, monkeypatch):
    monkeypatch.setattr(judge_module, "evaluate", lambda options: pytest.fail("minutes of work"))
    status, _, errors = judge("random", "--out", weights["text"] / "features.json")
    assert status == 1 and "text.pth could not be written" in errors


def test_an_organ_without_enough_cells_is_named(judge, folder, tmp_path):
    for path in folder.iterdir():
        shutil.copy(path, tmp_path)
    label = sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "label_2.nii.gz")))
    label[label == 3] = 0
    sitk.WriteImage(sitk.GetImageFromArray(label), str(tmp_path / "label_2.nii.gz"))
    status, _, errors = judge("random", "--depth", "18", "--data", tmp_path)
    assert status == 1
    assert "found 0 training cells of LK, expected at least 20; take more slices" in errors


def test_help(tool, capsys):
    with pytest.raises(SystemExit) as ending:
        tool.main(["--help"])
    assert ending.value.code == 0
    assert "--random-seeds" in capsys.readouterr().out


def test_a_count_of_zero_is_refused(judge, capsys):
    with pytest.raises(SystemExit):
        judge("random", "--neighbours", 0)
    assert "'0' is not a whole number of 1 or more" in capsys.readouterr().err
