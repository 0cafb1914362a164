"""Snapshots chosen without test labels."""

import json

import pytest

from Stage2.selection import resolve_snapshot, select_snapshot, selection_rule


def make_run(folder, steps, dice=None):
    (folder / "snapshots").mkdir(parents=True)
    for step in steps:
        (folder / "snapshots" / f"{step}.pth").touch()
    table = {} if dice is None else {"train_scans_dice": {"steps": list(dice), "values": list(dice.values())}}
    (folder / "metrics.json").write_text(json.dumps(table))
    return folder


def test_last_is_the_highest_step_of_the_latest_run(tmp_path):
    make_run(tmp_path / "1", [5, 300])
    run = make_run(tmp_path / "2", [9, 100])
    (tmp_path / "3").mkdir()
    assert select_snapshot(tmp_path, "last") == run / "snapshots" / "100.pth"


def test_train_scans_is_the_best_tested_snapshot(tmp_path):
    run = make_run(tmp_path, [10, 20, 30, 40], {5: 0.9, 10: 0.2, 20: 0.6, 30: 0.6, 40: float("nan")})
    assert select_snapshot(run, "train_scans") == run / "snapshots" / "20.pth"  # 5 was not kept; 30 is no better


@pytest.mark.parametrize("dice", [None, {5: 0.9}])
def test_a_run_without_such_tests_is_told(tmp_path, dice):
    with pytest.raises(ValueError, match="train with eval_every=STEPS, or choose select=last"):
        select_snapshot(make_run(tmp_path, [10], dice), "train_scans")


def test_folder_without_snapshots_and_unknown_rule(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no snapshots"):
        select_snapshot(tmp_path, "last")
    with pytest.raises(ValueError, match="select=test is unknown; choose one of last, train_scans"):
        select_snapshot(tmp_path, "test")


def test_a_file_is_taken_as_it_is(tmp_path):
    run = make_run(tmp_path, [10])
    file = str(run / "snapshots" / "10.pth")
    assert resolve_snapshot(None, "last") is None
    assert str(resolve_snapshot(file, "train_scans")) == file
    assert str(resolve_snapshot(str(run), "last")) == file
    assert (selection_rule(file, "last"), selection_rule(str(run), "last"), selection_rule(None, "last")) == (
        None,
        "last",
        None,
    )
