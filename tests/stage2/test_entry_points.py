"""Training, fine-tuning and testing through the entry points, on a small cohort."""

import json
import runpy
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import torch

from Stage2 import finetuning, training, validation
from Stage2.run_folders.layout import list_runs, list_snapshots, read_results, read_scalars
from Stage2.runs.event_log import read_events

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def road(toy, cohort_folder, tmp_path_factory):
    """Training, resumed training, fine-tuning and testing of one fold; name -> run folder."""
    log_dir = tmp_path_factory.mktemp("exps")
    shared = {
        "modelname": toy,
        "path": {"data_dir": str(cohort_folder), "log_dir": str(log_dir)},
        "num_workers": 0,
        "device": "cpu",
        "print_interval": 1,
    }

    def run(experiment, prefix, **changes):
        experiment.run(config_updates={**shared, "exp_prefix": prefix, **changes})
        return list_runs(log_dir / f"mySSL_{prefix}_CHAOST2_Superpix_sets_0_1shot")[-1]

    runs = {"train": run(training.experiment, "train", n_steps=2)}
    runs["resumed"] = run(training.experiment, "train", n_steps=3, resume=True)
    snapshot = str(list_snapshots(runs["resumed"])[-1][1])
    chosen = {"reload_model_path": snapshot, "selection": "test: the best of many"}
    runs["finetune"] = run(finetuning.experiment, "ft", n_steps=2, **chosen)
    runs["test"] = run(validation.experiment, "test", reload_model_path=snapshot)
    watching = {"eval_every": 2, "eval_scans": 2, "save_snapshot_every": 1}
    runs["watched"] = run(training.experiment, "watched", n_steps=3, **watching)
    runs["chosen"] = run(
        validation.experiment, "chosen", reload_model_path=str(runs["watched"]), select="train_scans", protocol="clean"
    )
    return runs


def test_run_folders(road):
    assert [step for step, _ in list_snapshots(road["train"])] == [2]
    assert [step for step, _ in list_snapshots(road["resumed"])] == [2, 3]
    for run in road.values():
        assert {"config.json", "metrics.json", "run.json", "cout.txt"} <= {path.name for path in run.iterdir()}
        assert json.loads((run / "run.json").read_text())["status"] == "COMPLETED"


def test_scalars_of_a_resumed_run_are_complete(road):
    for name in ("query_loss", "align_loss", "total_loss", "lr", "degenerate_episodes"):
        assert read_scalars(road["resumed"])[name][0] == [1, 2, 3]
    assert read_scalars(road["finetune"])["lr"][1] == [1e-4, 1e-4]
    total, query, align = (read_scalars(road["train"])[f"{name}_loss"][1] for name in ("total", "query", "align"))
    np.testing.assert_allclose(total, np.add(query, align), rtol=1e-5)


def test_tensorboard_shows_the_scalars_and_a_picture_of_every_snapshot(road):
    """Of the resumed run all of them, each once: those before the interruption too."""
    for name in ("resumed", "finetune"):
        found, pictures = {}, []
        for event in read_events(road[name]):
            for value in event.summary.value:
                if value.HasField("image"):
                    pictures.append(event.step)
                    assert (value.image.height, value.image.width) == (256, 4 * 256 + 12)
                else:
                    found.setdefault(value.tag, []).append((event.step, value.simple_value))
        expected = read_scalars(road[name])
        assert set(found) == set(expected)
        for tag, (steps, values) in expected.items():
            assert [step for step, _ in found[tag]] == steps
            np.testing.assert_allclose([value for _, value in found[tag]], values, rtol=1e-6)
        assert pictures == [step for step, _ in list_snapshots(road[name])]


def test_a_run_tells_where_it_comes_from(road):
    about = json.loads((road["finetune"] / "run.json").read_text())
    sources = dict(about["experiment"]["sources"])
    assert {"Stage2/finetuning.py", "Stage2/models/alp.py", "Stage2/datasets/augmentation.py"} <= set(sources)
    kept = road["finetune"].parent / sources["Stage2/models/alp.py"]
    assert kept.read_text() == (ROOT / "Stage2" / "models" / "alp.py").read_text()
    assert f"torch=={version('torch')}" in about["experiment"]["dependencies"]
    assert about["host"]["torch"]["version"] == torch.__version__
    assert about["experiment"]["mainfile"] == "Stage2/finetuning.py"


def test_results(road):
    results = read_results(road["test"])
    assert (results["protocol"], results["dataset"], results["fold"], results["label_set"]) == (
        "paper",
        "CHAOST2",
        0,
        0,
    )
    assert (results["step"], results["modelname"], results["exclude_classes"]) == (3, "toy", [])
    told = {key: results[key] for key in ("clsname", "val_wsize", "n_sup_part", "z_margin", "min_fg_data")}
    assert told == {"clsname": "grid_proto", "val_wsize": 2, "n_sup_part": 3, "z_margin": 0, "min_fg_data": 1}
    assert {(row["class"], row["scan"]) for row in results["scans"]} == {
        (name, scan) for name in ("RK", "LK") for scan in "0123"
    }
    for name in ("RK", "LK"):
        assert results["support"][name][0]["scan"] == "4"
        values = [row["dice"] for row in results["scans"] if row["class"] == name]
        assert results["class_means"][name]["dice"] == pytest.approx(np.mean(values))
        assert results["class_means"][name]["scans"] == 4
    means = [results["class_means"][name]["dice"] for name in ("RK", "LK")]
    assert results["mean"]["dice"] == pytest.approx(np.mean(means))
    masks = sorted(path.name for path in (road["test"] / "interm_preds").iterdir())
    assert masks == [f"scan_{scan}_label_{label}.nii.gz" for scan in "0123" for label in (2, 3)]


def test_tests_on_training_scans_are_logged_and_change_nothing(road):
    scalars = read_scalars(road["watched"])
    for name in ("train_scans_dice", "train_scans_dice_LIVER", "train_scans_dice_SPLEEN"):
        assert scalars[name][0] == [1, 2, 3]  # every second step, and every snapshot
        assert all(0 <= value <= 1 for value in scalars[name][1])
    assert not [name for name in scalars if "RK" in name]
    states = [torch.load(run / "snapshots" / "3.pth", weights_only=True) for run in (road["watched"], road["resumed"])]
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())


def test_the_snapshot_can_be_chosen_by_training_scans(road):
    dice = read_scalars(road["watched"])["train_scans_dice"][1]
    results = read_results(road["chosen"])
    assert results["step"] == 1 + int(np.argmax(dice))
    assert (results["selected_by"], results["protocol"]) == ("train_scans", "clean")
    assert results["selection"].startswith(f"train_scans: Dice of training classes in training scans {max(dice):.4f}")
    assert read_results(road["test"])["selected_by"] is None


def test_fine_tuning_records_its_snapshot_and_how_it_was_chosen(road):
    snapshot = str(list_snapshots(road["resumed"])[-1][1])
    recorded = json.loads((road["finetune"] / "info.json").read_text())
    assert recorded == {"snapshot": snapshot, "selected_by": "test", "selection": "test: the best of many"}
    config = json.loads((road["finetune"] / "config.json").read_text())
    assert config["reload_model_path"] == snapshot
    assert config["selection"] == {"rule": "test", "reason": "the best of many"}
    assert json.loads((road["train"] / "info.json").read_text())["snapshot"] is None


def test_the_clean_protocol_refuses_a_snapshot_that_test_labels_chose(road, cohort_folder, tmp_path, capsys):
    path = {"data_dir": str(cohort_folder), "log_dir": str(tmp_path)}
    chosen = {"reload_model_path": str(list_snapshots(road["train"])[-1][1]), "selection": {"rule": "test"}}
    with pytest.raises(SystemExit):
        validation.experiment.run(
            config_updates={"modelname": "toy", "path": path, "protocol": "clean", **chosen}
        )
    assert "was chosen by them (select=test); choose select=train_scans or last" in capsys.readouterr().err


# Script as seen from a folder of the repository, settings, and how the one line on stderr begins.
MISTAKES = {
    "misspelt": (
        "Stage2", "training.py", ["modelnam=dlfcn_res18"],
        "error: modelnam is not a setting; the nearest one is modelname.",
    ),
    "no folder": (
        "Stage2", "training.py", ["path.data_dir=/nowhere", "modelname=dlfcn_res18"],
        "error: /nowhere is not a folder",
    ),
    "no device": ("Stage2", "training.py", ["device=abacus"], "error: device=abacus is unknown"),
    "no snapshot": (".", "Stage2/finetuning.py", [], "error: fine-tuning starts from a trained snapshot"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_bad_input_is_one_line_and_a_failed_status(name, tmp_path, monkeypatch, capsys):
    place, script, arguments, beginning = MISTAKES[name]
    monkeypatch.chdir(ROOT / place)
    monkeypatch.setattr(sys, "argv", [script, "with", *arguments, f"path.log_dir={tmp_path}"])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(script, run_name="__main__")
    assert end.value.code == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith(beginning), lines
    assert not [line for line in lines if "Traceback" in line]


def test_a_published_launch_line_runs_inside_stage2_and_its_snapshot_has_the_published_keys(cohort_folder, tmp_path):
    settings = [
        "modelname=dlfcn_res18", "usealign=True", "optim_type=sgd", "num_workers=0", "scan_per_load=-1", "label_sets=0",
        "use_wce=True", "exp_prefix=train_CHAOST2_Superpix_lbgroup0_scale_MIDDLE_vfold0", "clsname=grid_proto",
        "n_steps=1", "exclude_cls_list=[2,3]", "eval_fold=0", "dataset=CHAOST2_Superpix", "proto_grid_size=8",
        "max_iters_per_load=1000", "min_fg_data=1", "seed=1234", "save_snapshot_every=25000", "superpix_scale=MIDDLE",
        "lr_step_gamma=0.95", f"path.log_dir={tmp_path}", "support_idx=[4]", "use_coco_init=False",
        f"path.data_dir={cohort_folder}",
    ]  # fmt: skip
    command = [sys.executable, "training.py", "with", *settings]
    done = subprocess.run(command, cwd=ROOT / "Stage2", capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    name = "mySSL_train_CHAOST2_Superpix_lbgroup0_scale_MIDDLE_vfold0_CHAOST2_Superpix_sets_0_1shot"
    content = torch.load(tmp_path / name / "1" / "snapshots" / "1.pth", weights_only=True)
    prefixes = {".".join(key.split(".")[:2]) for key in content}
    assert prefixes == {"encoder.backbone", "encoder.localconv", "encoder.aspp_out", "encoder.asppconv"}
    assert "1 steps in" in (tmp_path / name / "1" / "cout.txt").read_text()  # the run folder keeps the log


