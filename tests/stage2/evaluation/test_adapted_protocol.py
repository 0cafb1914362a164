"""Tests with adapted networks: masks are those that a user gets, and only what a protocol allows is learned from."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from Stage2 import validation
from Stage2.adaptation.adapt import AdaptedWeights, side_for
from Stage2.adaptation.confidence import Reference
from Stage2.adaptation.network import AdaptedNetwork
from Stage2.adaptation.network_file import STARTING, write_network
from Stage2.adaptation.settings import AdaptationSettings
from Stage2.datasets.catalog import get_dataset
from Stage2.datasets.cohort import Cohort
from Stage2.datasets.volumes import Scan
from Stage2.evaluation import adapted_protocol
from Stage2.evaluation.adapted_protocol import AdaptedProtocol, adapt_to_supports, support_masks
from Stage2.evaluation.metrics import compute_metrics
from Stage2.evaluation.protocol import ClassTask
from Stage2.inference.adapted_predictor import Adapted, AdaptedPredictor
from Stage2.inference.transform import scan_transform
from Stage2.run_folders.layout import list_runs, read_results, read_scalars

ROOT = Path(__file__).resolve().parents[3]
TASKS = [
    ClassTask("RK", 2, support_slices={"4": [1, 3]}, ranges={"0": (1, 3)}),
    ClassTask("LK", 3, support_slices={"4": [2]}, ranges={}),
]


def cohort_of(folder: Path) -> Cohort:
    return Cohort(folder, get_dataset("CHAOST2"), fold=0)


def guessing_network() -> AdaptedNetwork:
    """One with random weights that finds every organ somewhere, in several pieces."""
    torch.manual_seed(5)
    network = AdaptedNetwork("dlfcn_res18", 2).eval()
    with torch.no_grad():
        network.head.parts.weight.mul_(60)
        network.head.parts.bias.zero_()
    return network


def protocol_of(network: AdaptedNetwork, side: int = 160, clean: bool = True) -> AdaptedProtocol:
    return AdaptedProtocol(AdaptedWeights(network, 0, 0.0, True), TASKS, side, clean)


@pytest.mark.parametrize("side", [160, 256])
def test_clean_masks_are_bit_for_bit_those_that_a_user_gets(side: int, cohort_folder: Path):
    network = guessing_network()
    transform = scan_transform("MR", prepared=True, axes="stored")
    adapted = Adapted(network, (2, 3), transform, side, Reference(((1.0, 9.0), (1.0, 9.0))), {})
    file = sitk.ReadImage(str(cohort_folder / "image_0.nii.gz"))
    expected = AdaptedPredictor(adapted).segment(file).labels
    scan = cohort_of(cohort_folder).annotated_scan("0")
    for task, mask in zip(TASKS, protocol_of(network, side).masks(Scan("0", scan.image)), strict=True):
        np.testing.assert_array_equal(mask, expected == task.label)
        assert 0 < mask.sum() < mask.size / 2
    pieces = protocol_of(network, side, clean=False).masks(Scan("0", scan.image))
    assert all(np.count_nonzero(more) > np.count_nonzero(expected == task.label)
               for more, task in zip(pieces, TASKS, strict=True))  # fmt: skip


def test_the_paper_protocol_scores_class_ranges_and_the_clean_one_everything(cohort_folder: Path):
    scan, network = cohort_of(cohort_folder).annotated_scan("0"), guessing_network()
    right, left = protocol_of(network, clean=False).evaluate(scan)
    assert right.scores == {
        name: value for name, value in compute_metrics(right.mask[1:4], scan.label[1:4] == 2, (1, 1, 1)).items()
        if name in right.scores
    }  # fmt: skip
    assert right.whole_scores is None
    assert left.mask is None and np.isnan(left.scores["dice"])  # no slice of it in this query
    assert protocol_of(network, clean=False).evaluate(scan, full_volume=True)[0].whole_scores["dice"] >= 0
    for one in protocol_of(network).evaluate(scan):
        assert one.mask is not None and one.whole_scores.keys() == right.scores.keys()


def test_only_a_class_s_own_support_slices_are_learned_from(cohort_folder: Path, monkeypatch):
    """Of the labels; the images of neighbours go along."""
    given = []

    def capture(scans, organs, start, settings, device):
        given.append(scans)
        return AdaptedWeights(guessing_network(), 2, 0.1, True)

    monkeypatch.setattr(adapted_protocol, "adapt_slices", capture)
    scan = cohort_of(cohort_folder).annotated_scan("4")
    elsewhere = scan.label.copy()
    elsewhere[[0, 4]] = 1
    elsewhere[[1, 3]] = np.where(scan.label[[1, 3]] == 2, 2, 3)  # nothing is known of 3 there
    elsewhere[2] = np.where(scan.label[2] == 3, 3, 2)
    for label in (scan.label, elsewhere):
        adapt_to_supports([Scan("4", scan.image, label)], TASKS, "random", AdaptationSettings(), clean=False)
    (one,), (other,) = given
    assert torch.equal(one.labels, other.labels) and torch.equal(one.images, other.images)
    assert one.known.tolist() == [[False, False], [True, False], [False, True], [True, False], [False, False]]
    assert one.annotated.tolist() == [1, 2, 3]
    assert [own.unique().tolist() for own in one.labels] == [[255], [0, 1], [0, 2], [0, 1], [255]]
    adapt_to_supports([scan], TASKS, "random", AdaptationSettings(), clean=True)
    assert bool(given[-1][0].known.all())


def test_supports_without_a_class_are_named():
    empty = Scan("4", np.zeros((5, 8, 8), np.float32), np.zeros((5, 8, 8), np.uint8))
    with pytest.raises(ValueError, match="support scan 4 shows no RK; choose another one with support_idx"):
        support_masks(empty, TASKS, clean=True)
    with pytest.raises(ValueError, match="slice 1 of support scan 4 has no pixel of RK"):
        support_masks(empty, TASKS, clean=False)


def test_an_interruption_is_no_result(cohort_folder: Path, monkeypatch):
    unfinished = AdaptedWeights(guessing_network(), 2, 0.1, False)
    monkeypatch.setattr(adapted_protocol, "adapt_slices", lambda *_, **__: unfinished)
    support = cohort_of(cohort_folder).annotated_scan("4")
    with pytest.raises(KeyboardInterrupt):
        adapt_to_supports([support], TASKS, "random", AdaptationSettings(), clean=True)


def test_a_transformer_s_side_is_its_own(tmp_path: Path):
    assert side_for("random", "dlfcn_vit_mmcv") == 256
    assert side_for("random", None) is None
    write_network(tmp_path / "own.safetensors", STARTING, guessing_network(), {})
    assert side_for(tmp_path / "own.safetensors", None) is None


@pytest.fixture(scope="module")
def settings(cohort_folder: Path) -> dict:
    return {
        "method": "adapted", "adapt_steps": 2, "adapt_start": "random", "modelname": "dlfcn_res18", "device": "cpu",
    }  # fmt: skip


def masks_in(run: Path) -> dict[str, np.ndarray]:
    return {path.name: sitk.GetArrayFromImage(sitk.ReadImage(str(path))) for path in (run / "interm_preds").iterdir()}


def test_labels_of_queries_change_scores_but_no_mask(settings: dict, cohort_folder: Path, tmp_path: Path):
    """Also: the same steps and seed give the same masks again."""
    other = tmp_path / "cohort"
    shutil.copytree(cohort_folder, other)
    for scan in "0123":
        image = sitk.ReadImage(str(other / f"label_{scan}.nii.gz"))
        sitk.WriteImage(sitk.Cast(image * 0, image.GetPixelID()), str(other / f"label_{scan}.nii.gz"))
    runs = []
    for name, folder in (("own", cohort_folder), ("other", other)):
        path = {"data_dir": str(folder), "log_dir": str(tmp_path / "exps")}
        validation.experiment.run(config_updates={**settings, "protocol": "clean", "exp_prefix": name, "path": path})
        runs += list_runs(tmp_path / "exps" / f"mySSL_{name}_CHAOST2_Superpix_sets_0_1shot")
    masks = [masks_in(run) for run in runs]
    assert len(masks[0]) == 8 and masks[0].keys() == masks[1].keys()
    for name, mask in masks[0].items():
        np.testing.assert_array_equal(mask, masks[1][name])
    results = read_results(runs[0])
    assert (results["protocol"], results["method"], results["slice_matching"]) == ("clean", "adapted", None)
    assert results["modelname"] == "dlfcn_res18" and results["snapshot"] is None
    assert results["adaptation"].pop("minutes") > 0
    assert results["adaptation"] == {
        "start": "random", "budget": "2 steps", "annotated": "whole support scans", "steps": 2, "side": 128,
    }  # fmt: skip
    assert {row["scan"] for row in results["scans"]} == set("0123")
    assert "dice" in results["mean"]["full_volume"]
    assert set(read_scalars(runs[0])) >= {"adapted_clean_mar_val_batches_meanDice"}
    assert json.loads((runs[0] / "config.json").read_text())["adapt_steps"] == 2


def test_the_paper_protocol_from_a_snapshot_as_a_program(
    settings: dict, cohort_folder: Path, snapshot: Path, tmp_path: Path
):
    words = {**settings, "reload_model_path": snapshot, "path.data_dir": cohort_folder, "path.log_dir": tmp_path}
    del words["adapt_start"], words["modelname"]  # the snapshot tells its encoder
    command = [sys.executable, "validation.py", "with", *(f"{key}={value}" for key, value in words.items())]
    own_code = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT / "Stage2", env=own_code, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "adapting to 1 support scan(s) with RK, LK for 2 steps" in done.stderr
    (run,) = list_runs(next(tmp_path.iterdir()))
    results = read_results(run)
    assert (results["protocol"], results["method"], results["step"]) == ("paper", "adapted", 7)
    assert (results["modelname"], results["snapshot"]) == ("dlfcn_res18", str(snapshot))
    assert results["adaptation"]["start"] == str(snapshot)
    assert results["adaptation"]["annotated"] == "support slices"
    assert results["support"]["RK"] == [{"scan": "4", "slices": [1, 2, 3]}]
    assert len(masks_in(run)) == 8
