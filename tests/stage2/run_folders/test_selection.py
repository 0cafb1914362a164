"""Snapshots chosen by a rule, and what is recorded of the choice."""

import json
import os

import pytest

from Stage2.run_folders.selection import (
    Choice,
    choice_record,
    choose_snapshot,
    dice_of_tests,
    resolve_choice,
    snapshot_of_step,
)
from Stage2.run_folders.unusual import USUAL


def make_run(folder, steps, dice=None):
    (folder / "snapshots").mkdir(parents=True)
    for step in steps:
        (folder / "snapshots" / f"{step}.pth").touch()
    table = {} if dice is None else {"train_scans_dice": {"steps": list(dice), "values": list(dice.values())}}
    (folder / "metrics.json").write_text(json.dumps(table))
    return folder


def make_test(folder, snapshot, dice, protocol="paper", **more):
    folder.mkdir(parents=True)
    content = {"protocol": protocol, "snapshot": None if snapshot is None else str(snapshot), "mean": {"dice": dice}}
    content |= more
    (folder / "results.json").write_text(json.dumps(content))


def test_last_is_the_highest_step_of_the_latest_run_that_has_any(tmp_path):
    make_run(tmp_path / "1", [5, 300])
    make_run(tmp_path / "2", [9, 100])
    run = make_run(tmp_path / "10", [8, 100])
    (tmp_path / "11").mkdir()
    assert choose_snapshot(tmp_path, "last").snapshot == run / "snapshots" / "100.pth"
    assert snapshot_of_step(tmp_path, 300).snapshot == tmp_path / "1" / "snapshots" / "300.pth"
    with pytest.raises(FileNotFoundError, match=r"no run in .* has a snapshot of step 7"):
        snapshot_of_step(tmp_path, 7)


def test_train_scans_is_the_best_tested_snapshot(tmp_path):
    run = make_run(tmp_path, [10, 20, 30, 40], {5: 0.9, 10: 0.2, 20: 0.6, 30: 0.6, 40: float("nan")})
    choice = choose_snapshot(run, "train_scans")
    assert choice.snapshot == run / "snapshots" / "20.pth"  # 5 was not kept; 30 is no better
    assert "0.6000 at step 20, the best of 3 tested (1 of 4 snapshots are untested)" in choice.reason


def test_test_is_the_best_in_test_scans_by_the_published_protocol(tmp_path):
    run = make_run(tmp_path / "train" / "2", [10, 20, 30])
    other = make_run(tmp_path / "train" / "1", [10, 20, 30])
    tests = tmp_path / "test"
    make_test(tests / "1", run / "snapshots" / "10.pth", 0.9)
    make_test(tests / "2", run / "snapshots" / "10.pth", 0.3)  # later: counts
    make_test(tests / "10", run / "snapshots" / "20.pth", 0.4)
    make_test(tests / "11", run / "snapshots" / "30.pth", 0.9, protocol="clean")
    make_test(tests / "12", run / "snapshots" / "30.pth", None)
    make_test(tests / "13", other / "snapshots" / "30.pth", 0.8)
    make_test(tests / "14", None, 0.8)
    make_test(tests / "15", run / "snapshots" / "30.pth", 0.8)
    (tests / "15" / "results.json").write_text("{cut")
    make_test(tests / "16", run / "snapshots" / "10.pth", 0.9, method="adapted")
    make_test(tests / "17", run / "snapshots" / "20.pth", 0.4, method="prototypes")
    assert dice_of_tests(run) == {10: 0.3, 20: 0.4}
    choice = choose_snapshot(tmp_path / "train", "test")
    assert choice.snapshot == run / "snapshots" / "20.pth"
    assert choice.rule == "test"
    assert choice.reason.startswith("mean Dice in test scans 0.4000 at step 20, the best of 2 tested (1 of 3")


def test_tests_hold_for_moved_folders_and_for_the_run_that_went_on(tmp_path):
    run = make_run(tmp_path / "exps" / "train" / "1", [10])
    resumed = make_run(tmp_path / "exps" / "train" / "2", [20])
    os.link(run / "snapshots" / "10.pth", resumed / "snapshots" / "10.pth")
    make_test(tmp_path / "exps" / "test" / "1", "elsewhere/then/train/1/snapshots/10.pth", 0.5)
    assert dice_of_tests(resumed) == dice_of_tests(run) == {10: 0.5}


@pytest.mark.parametrize("dice", [None, {5: 0.9}])
def test_a_run_without_such_tests_is_told(tmp_path, dice):
    with pytest.raises(ValueError, match="train with eval_every=STEPS, or choose select=last"):
        choose_snapshot(make_run(tmp_path / "train" / "1", [10], dice), "train_scans")
    with pytest.raises(ValueError, match=r"no test of its snapshots .*SNAPSHOTS=all .* or choose select=last"):
        choose_snapshot(tmp_path / "train", "test")


def test_folder_without_snapshots_and_unknown_rule(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no run; expected snapshots"):
        choose_snapshot(tmp_path, "last")
    (tmp_path / "1").mkdir()
    with pytest.raises(FileNotFoundError, match=r"holds 1 run\(s\) without snapshots"):
        choose_snapshot(tmp_path, "last")
    with pytest.raises(ValueError, match="select=best is unknown; choose one of last, train_scans, test"):
        choose_snapshot(tmp_path, "best")


def test_a_file_is_taken_as_it_is(tmp_path):
    run = make_run(tmp_path, [10], {10: 0.5})
    file = str(run / "snapshots" / "10.pth")
    assert resolve_choice(None, "last") is None
    assert resolve_choice(file, "train_scans") == Choice(run / "snapshots" / "10.pth")
    assert str(resolve_choice(run).snapshot) == file
    assert resolve_choice(file, "last", "test", "of many").rule == "test"


@pytest.mark.parametrize(
    ("rule", "selected_by"), [("last", None), ("train_scans", "train_scans"), ("given", None), ("test", "test")]
)
def test_the_record_names_the_rule_where_snapshots_were_compared(tmp_path, rule, selected_by):
    record = choice_record(Choice(tmp_path, rule, "some reason"))
    assert record == {"snapshot": str(tmp_path), "selected_by": selected_by, "selection": f"{rule}: some reason"}
    assert set(choice_record(None).values()) == {None}


@pytest.mark.parametrize(
    "more",
    [
        {"support_idx": "all"}, {"fold_scheme": "overlapping"}, {"protocol": "adnet"}, {"support_idx": [0]},
        {"clsname": "global_proto"}, {"val_wsize": 4}, {"n_sup_part": 1}, {"z_margin": 2}, {"min_fg_data": 100},
    ],
    ids=str,
)  # fmt: skip
def test_tests_by_other_habits_choose_no_snapshot(tmp_path, more):
    run = make_run(tmp_path / "train" / "1", [5, 9])
    (run / "config.json").write_text('{"clsname": "grid_proto"}')
    usual = {"fold": 0, "dataset": "CHAOST2", "support_idx": [4], "fold_scheme": "disjoint", "clsname": "grid_proto"}
    make_test(tmp_path / "test" / "1", run / "snapshots" / "5.pth", 0.4, **usual, **USUAL)
    make_test(tmp_path / "test" / "2", run / "snapshots" / "9.pth", 0.8, **{**usual, **USUAL, **more})
    assert dice_of_tests(run) == {5: 0.4}
