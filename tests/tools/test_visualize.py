"""Every subcommand writes its figure from run folders, and says in one sentence when it cannot."""

import importlib.util
import json
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from PIL import Image

from Stage1.models import ResNetC5
from Stage2.run_folder import prediction_path

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def visualize():
    spec = importlib.util.spec_from_file_location("visualize", ROOT / "tools" / "visualize.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write_volume(path: Path, volume: np.ndarray, direction: tuple[float, float] = (1, 1)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = sitk.GetImageFromArray(volume)
    image.SetDirection((direction[0], 0, 0, 0, direction[1], 0, 0, 0, 1))
    sitk.WriteImage(image, str(path))


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    """Scans 1, 2, 3 of 12 slices: class RK (label 2) on slices 2..10, largest on slice 8."""
    random = np.random.default_rng(0)
    for scan in (1, 2, 3):
        label = np.zeros((12, 32, 32), dtype=np.uint8)
        label[2:11, 4:8, 4:8] = 2
        label[8, 4:12, 4:12] = 2
        write_volume(tmp_path / "data" / f"image_{scan}.nii.gz", random.normal(size=label.shape).astype(np.float32))
        write_volume(tmp_path / "data" / f"label_{scan}.nii.gz", label)
    return tmp_path / "data"


def write_test_run(experiment: Path, dice: dict[str, float], support: list[int]) -> Path:
    run = experiment / "1"
    values = {"precision": 0.5, "recall": 0.5}
    scans = [
        {"class": "RK", "label": 2, "scan": scan, "z_min": 2, "z_max": 10, "dice": d} | values
        for scan, d in dice.items()
    ]
    results = {"protocol": "paper", "dataset": "CHAOST2", "fold": 0, "label_set": 0, "exclude_classes": []}
    results |= {"support": {"RK": [{"scan": "3", "slices": support}]}, "scans": scans, "mean": {"dice": 0.5} | values}
    results |= {"class_means": {"RK": {"dice": 0.5, "scans": 2, "undefined": 0} | values}}
    for scan in dice:
        mask = np.zeros((12, 32, 32), dtype=np.uint8)
        mask[:, 4:8, 4:8] = int(scan)
        write_volume(prediction_path(run, scan, 2), mask)
    (run / "results.json").write_text(json.dumps(results))
    return run


def test_the_row_shows_the_largest_slice_of_the_best_scan(visualize, cohort: Path, tmp_path: Path):
    """Slice 8 lies in the last third: the support slice is the third one."""
    runs = {}
    for name, dice in (("before", {"1": 0.9, "2": 0.1}), ("after", {"1": 0.2, "2": 0.7})):
        run = write_test_run(tmp_path / name, dice, [3, 6, 9])
        runs[name] = (run, json.loads((run / "results.json").read_text()))
    support, before, after, truth = visualize.organ_row(cohort, runs, "RK", None)
    assert [panel.text for panel in (support, before, after, truth)] == [
        "scan 3, slice 9", "Dice of the scan 0.10", "Dice of the scan 0.70", "scan 2, slice 8",
    ]  # fmt: skip
    assert support.drawn.sum() == 16
    assert truth.drawn.sum() == 64
    assert after.predicted.sum() == 16
    np.testing.assert_array_equal(after.image, visualize.read_slice(cohort / "image_2.nii.gz", 8))
    assert visualize.organ_row(cohort, runs, "RK", "1")[1].text == "Dice of the scan 0.90"
    with pytest.raises(ValueError, match="scan 9 was not tested for RK"):
        visualize.organ_row(cohort, runs, "RK", "9")


def test_labels_stored_as_other_values_are_drawn(visualize, cohort: Path, tmp_path: Path):
    run = write_test_run(tmp_path / "mine", {"1": 0.5}, [3, 6, 9])
    results = json.loads((run / "results.json").read_text())
    expected = visualize.organ_row(cohort, {"mine": (run, results)}, "RK", None)
    for scan in (1, 2, 3):
        path = cohort / f"label_{scan}.nii.gz"
        label = sitk.GetArrayFromImage(sitk.ReadImage(str(path))).astype(np.int16)
        label[label > 0] = 500
        label[:, 5, 5] = np.where(label[:, 5, 5] > 0, 205, 0)  # two values, one label
        write_volume(path, label)
    results["label_values"] = {"0": 0, "500": 2, "205": 2, "2": 1}
    found = visualize.organ_row(cohort, {"mine": (run, results)}, "RK", None)
    for own, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(own.drawn, other.drawn)
        assert own.text == other.text


@pytest.mark.parametrize("direction", [(1, 1), (1, -1), (-1, 1), (-1, -1)])
def test_slices_are_shown_front_up_with_the_right_side_on_the_left(visualize, tmp_path: Path, direction):
    """Directions are SimpleITK's: positive means towards the patient's left and back."""
    upright = np.arange(12, dtype=np.float32).reshape(1, 3, 4)
    stored = np.ascontiguousarray(upright[:, :: direction[1], :: direction[0]])
    write_volume(tmp_path / "image_1.nii.gz", stored, direction)
    np.testing.assert_array_equal(visualize.read_slice(tmp_path / "image_1.nii.gz", 0), upright[0])


def test_segmentation_writes_a_grid(visualize, cohort: Path, tmp_path: Path, capsys):
    write_test_run(tmp_path / "before", {"1": 0.1, "2": 0.2}, [3, 6, 9])
    write_test_run(tmp_path / "after", {"1": 0.5, "2": 0.6}, [3, 6, 9])
    out = tmp_path / "grid.png"
    runs = [f"before={tmp_path / 'before'}", f"after={tmp_path / 'after' / '1'}"]
    assert visualize.main(["segmentation", *runs, "--data", str(cohort), "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"{out}\n"
    height, width = matplotlib.image.imread(out).shape[:2]
    assert width > 2.5 * height


def test_runs_with_other_supports_are_refused(visualize, cohort: Path, tmp_path: Path, capsys):
    write_test_run(tmp_path / "a", {"1": 0.1}, [3, 6, 9])
    write_test_run(tmp_path / "b", {"1": 0.5}, [2, 6, 9])
    runs = [f"a={tmp_path / 'a'}", f"b={tmp_path / 'b'}"]
    assert visualize.main(["segmentation", *runs, "--data", str(cohort), "--out", str(tmp_path / "g.png")]) == 1
    assert "draw tests of one setting" in capsys.readouterr().err
    assert not (tmp_path / "g.png").exists()


def test_losses_come_from_both_stages(visualize, tmp_path: Path):
    lines = [
        {"loss": 4.0, "loss_contra_dense": 3.0, "lr": 0.1, "step": 10},
        {"loss": 2.0, "loss_contra_dense": 1.0, "step": 20},
    ]
    for stamp, factor in (("20260101_000000", 9), ("20260102_000000", 1)):
        file = tmp_path / "work" / stamp / "vis_data" / "scalars.json"
        file.parent.mkdir(parents=True)
        file.write_text("\n".join(json.dumps(line | {"loss": line["loss"] * factor}) for line in lines) + '\n{"loss"')
    assert visualize.read_stage1_losses(tmp_path / "work") == {
        "total": ([10, 20], [4.0, 2.0]), "dense": ([10, 20], [3.0, 1.0]),
    }  # fmt: skip
    resumed = tmp_path / "work" / "20260103_000000" / "vis_data" / "scalars.json"
    resumed.parent.mkdir(parents=True)
    resumed.write_text('{"step": 20, "loss": 1.5}\n{"step": 30, "loss": 1.0}\n')
    curves = visualize.read_stage1_losses(tmp_path / "work")
    assert curves == {"total": ([10, 20, 30], [4.0, 1.5, 1.0]), "dense": ([10], [3.0])}
    (tmp_path / "train" / "3").mkdir(parents=True)
    scalars = {name: {"steps": [1, 2], "values": [1.0, 0.5]} for name in ("query_loss", "align_loss", "lr")}
    (tmp_path / "train" / "3" / "metrics.json").write_text(json.dumps(scalars))
    arguments = ["losses", f"training={tmp_path / 'train'}", "--stage1", str(tmp_path / "work")]
    assert visualize.main([*arguments, "--out", str(tmp_path / "losses.png")]) == 0
    assert (tmp_path / "losses.png").stat().st_size > 5000


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["losses", "--stage1", "{tmp}"], "no */vis_data/scalars.json in"),
        (["losses", "{tmp}/none"], "holds metrics.json"),
        (["segmentation", "{tmp}/none", "--data", "{tmp}"], "holds results.json"),
    ],
)
def test_missing_runs_are_one_sentence(visualize, tmp_path: Path, capsys, arguments: list[str], sentence: str):
    arguments = [argument.format(tmp=tmp_path) for argument in arguments]
    assert visualize.main([*arguments, "--out", str(tmp_path / "x.png")]) == 1
    error = capsys.readouterr().err
    assert error.startswith("visualize.py: ")
    assert sentence in error
    assert len(error.splitlines()) == 1


def test_correspondence_draws_two_views_of_an_image(visualize, tmp_path: Path, capsys):
    torch.manual_seed(0)
    torch.save(ResNetC5(18).state_dict(), tmp_path / "resnet18.pth")
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 120), dtype=np.uint8)).save(tmp_path / "scan.png")
    options = ["--image-size", "96", "--out", str(tmp_path / "cells.png")]
    arguments = ["correspondence", str(tmp_path / "resnet18.pth"), str(tmp_path / "scan.png"), *options]
    assert visualize.main(arguments) == 0
    assert (tmp_path / "cells.png").stat().st_size > 20_000
    (tmp_path / "scan.png").write_text("no image")
    assert visualize.main(arguments) == 1
    assert visualize.main(["correspondence", str(tmp_path / "absent.pth"), str(tmp_path / "scan.png"), *options]) == 1
    unreadable, absent = capsys.readouterr().err.splitlines()
    assert unreadable.startswith("visualize.py: ")
    assert "scan.png" in unreadable
    assert "not an image" in unreadable
    assert "found no file" in absent


def test_the_overview_in_the_documentation_is_the_one_that_is_drawn(visualize, tmp_path: Path):
    out = tmp_path / "method.png"
    assert visualize.main(["overview", "--out", str(out)]) == 0
    drawn, kept = (matplotlib.image.imread(path) for path in (out, ROOT / "docs" / "method.png"))
    assert drawn.shape == kept.shape
    assert np.abs(drawn - kept).mean() < 0.01
    assert (ROOT / "docs" / "method.png").stat().st_size < 300_000
