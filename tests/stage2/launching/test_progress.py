"""What run folders tell about a fold: new, interrupted or finished with the wanted settings."""

import json
from pathlib import Path

import pytest

from Stage2.launching.progress import (
    Progress,
    Status,
    progress_of_test,
    progress_of_training,
)
from Stage2.runs.same_settings import differences

WANTED = {"n_steps": 100, "optim.lr": 1e-3, "modelname": "dlfcn_res18"}


def make_run(folder: Path, steps=(), state: bool = False, results: object = None, **config) -> Path:
    folder.mkdir(parents=True)
    content = {"n_steps": 100, "optim": {"lr": 1e-3}, "modelname": "dlfcn_res18"} | config
    (folder / "config.json").write_text(json.dumps(content))
    for step in steps:
        (folder / "snapshots").mkdir(exist_ok=True)
        (folder / "snapshots" / f"{step}.pth").touch()
    if state:
        (folder / "training_state.pth").touch()
    if results is not None:
        (folder / "results.json").write_text(results if isinstance(results, str) else json.dumps(results))
    return folder


def test_a_fold_without_runs_or_with_runs_that_kept_nothing_is_new(tmp_path):
    assert progress_of_training(tmp_path / "absent", WANTED) == Progress(Status.NEW)
    make_run(tmp_path / "1")
    assert progress_of_training(tmp_path, WANTED) == Progress(Status.NEW)


def test_finished_is_the_last_step_of_the_latest_run(tmp_path):
    make_run(tmp_path / "1", [50, 100], state=True)
    make_run(tmp_path / "2")  # failed at once: counts for nothing
    assert progress_of_training(tmp_path, WANTED) == Progress(Status.FINISHED, tmp_path / "1", 100)


@pytest.mark.parametrize(
    ("config", "steps", "status", "step"),
    [
        ({}, [50], Status.INTERRUPTED, 50),
        ({}, [], Status.INTERRUPTED, 0),  # before the first snapshot
        ({"n_steps": 60}, [50, 60], Status.INTERRUPTED, 60),  # finished, and now to be longer
        ({"n_steps": 200}, [100], Status.NEW, 0),  # what comes next would take its last step
        ({"optim": {"lr": 2e-3}}, [50], Status.NEW, 0),
        ({"batch_size": 4}, [100], Status.NEW, 0),  # a default is wanted
        ({"num_workers": 7, "path": {"data_dir": "/elsewhere"}, "device": "cuda"}, [100], Status.FINISHED, 100),
    ],
)
def test_the_state_of_the_latest_run(tmp_path, config, steps, status, step):
    run = make_run(tmp_path / "1", steps, state=True, **config)
    progress = progress_of_training(tmp_path, WANTED)
    assert (progress.status, progress.step) == (status, step)
    assert (progress.run == run) == (status is not Status.NEW)
    assert bool(progress.note) == (status is Status.NEW)


def test_without_a_state_there_is_nothing_to_go_on_from(tmp_path):
    make_run(tmp_path / "1", [50])
    assert progress_of_training(tmp_path, WANTED).status is Status.NEW


def test_a_finished_run_behind_a_newer_one_is_an_error(tmp_path):
    make_run(tmp_path / "1", [100], state=True)
    make_run(tmp_path / "2", [5], state=True, n_steps=5, optim={"lr": 9.0})
    with pytest.raises(
        ValueError, match=r"1 is finished with these settings, but .*2 is newer and has others \(optim.lr"
    ):
        progress_of_training(tmp_path, WANTED)


def test_snapshots_and_weights_are_the_same_wherever_folders_lie(tmp_path):
    there = "/old/exps/mySSL_train/1/snapshots/100.pth"
    run = make_run(tmp_path / "1", reload_model_path=there, pretrained_backbone="/old/weights.pth")
    same = WANTED | {"reload_model_path": "exps/mySSL_train/1/snapshots/100.pth", "pretrained_backbone": "weights.pth"}
    assert differences(run, same) == []
    for key, value in (
        ("reload_model_path", "/old/exps/mySSL_train/2/snapshots/100.pth"),
        ("reload_model_path", "/old/exps/mySSL_train/1/snapshots/50.pth"),
        ("reload_model_path", None),
        ("pretrained_backbone", "/old/other.pth"),
    ):
        assert [line.partition("=")[0] for line in differences(run, same | {key: value})] == [key]


def test_pictures_change_no_result(tmp_path):
    run = make_run(tmp_path / "1", picture_every=50)
    assert differences(run, WANTED) == differences(run, WANTED | {"picture_every": 0}) == []


def test_a_test_is_finished_if_any_run_has_its_results(tmp_path):
    wanted = {"val_wsize": 2, "modelname": "dlfcn_res18", "optim.lr": 1e-3}
    make_run(tmp_path / "1", results={"mean": {}}, val_wsize=2)
    make_run(tmp_path / "2", results={"mean": {}}, val_wsize=1)
    make_run(tmp_path / "3", results='{"cut', val_wsize=4)
    assert progress_of_test(tmp_path, wanted) == Progress(Status.FINISHED, tmp_path / "1")
    assert progress_of_test(tmp_path, wanted | {"val_wsize": 4}) == Progress(Status.NEW)
    assert progress_of_test(tmp_path, wanted | {"protocol": "clean"}) == Progress(Status.NEW)


def test_what_a_protocol_brings_along_is_no_difference(tmp_path):
    brought = {"fold_scheme": "overlapping", "ct_statistics": "volume", "support_idx": [2]}
    run = make_run(tmp_path / "1", results={}, protocol="adnet", **brought)
    wanted = {**WANTED, "protocol": "adnet"}
    assert differences(run, wanted) == []
    assert progress_of_test(tmp_path, wanted).status is Status.FINISHED
    assert differences(run, {**wanted, "support_idx": [3]}) == ["support_idx=[2] there, [3] here"]
    assert "protocol=adnet there, paper here" in differences(run, WANTED)
    assert differences(make_run(tmp_path / "2"), WANTED) == []  # a run from before there were such settings
