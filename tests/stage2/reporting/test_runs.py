"""Run folders are found wherever they lie, each once, and broken ones are named."""

import json
from pathlib import Path

import pytest
from stage2.reporting.result_folders import at_step, make_results, write_run

from Stage2.reporting.runs import (
    find_tested_runs,
    find_trained_runs,
    list_states,
    load_results,
    open_tested_run,
)


def test_runs_are_found_below_nested_folders_once(tmp_path: Path):
    results = make_results({"RK": [0.5]})
    write_run(tmp_path, "s1/mySSL_test_vfold0", 2, results)
    write_run(tmp_path, "s1/mySSL_test_vfold0", 10, results)
    write_run(tmp_path, "_sources", 1, results).rename(tmp_path / "_sources" / "x")
    runs = find_tested_runs([tmp_path, tmp_path / "s1"])
    assert [(tested.experiment, tested.run) for tested in runs] == [("s1/mySSL_test_vfold0", n) for n in (2, 10)]
    assert find_tested_runs([tmp_path / "s1" / "mySSL_test_vfold0"])[0].experiment == "mySSL_test_vfold0"
    assert find_tested_runs([tmp_path / "s1" / "mySSL_test_vfold0" / "2"])[0].run == 2
    assert open_tested_run(tmp_path / "s1" / "mySSL_test_vfold0").run == 10


def test_experiments_of_two_folders_are_told_apart_where_their_names_are_alike(tmp_path: Path):
    clean, test = "clean_vfold0_sets_0", "test_vfold1_sets_0"
    deep_lab, test_1 = "test_vfold0_sets_0", "test_vfold0_sets_1"
    for name in (f"s_l0/b/{clean}", f"s_l0/b/{test}", f"s_l0/a/{deep_lab}", f"s_l1/b/{test_1}"):
        run = write_run(tmp_path, name, 1, make_results({"RK": [0.5]}))
        (run / "metrics.json").write_text('{"query_loss": {"steps": [1], "values": [0.5]}}')

    def found(*folders: str) -> set[str]:
        given = [tmp_path / folder for folder in folders]
        trained = [run.experiment for run in find_trained_runs(given)]
        assert [run.experiment for run in find_tested_runs(given)] == trained
        return set(trained)

    assert found("s_l0/b") == {clean, test}
    assert found("s_l0/b", "s_l1/b") == {clean, test, test_1}  # one method with both label sets
    assert found("s_l0/b", "s_l0/a") == {clean, f"a/{deep_lab}", f"b/{test}"}
    assert found("s_l0/a", "s_l1/b") == {f"s_l0/a/{deep_lab}", f"s_l1/b/{test_1}"}
    assert found(f"s_l0/a/{deep_lab}", f"s_l0/b/{test}/1") == {f"a/{deep_lab}", f"b/{test}"}


def test_no_folder_and_no_results_are_errors(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="is not a folder"):
        find_tested_runs([tmp_path / "absent"])
    with pytest.raises(FileNotFoundError, match="test an experiment first"):
        find_tested_runs([tmp_path])
    with pytest.raises(FileNotFoundError, match=r"holds results\.json; .* test this experiment first"):
        open_tested_run(tmp_path)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda results: results.pop("protocol"), "lacks protocol; test this experiment again"),
        (lambda results: results["mean"].pop("dice"), "has an entry without dice; test this"),
        (lambda results: results["scans"].append("RK"), r"holds \[.* as scans, which no run writes; test this"),
        (lambda results: results["scans"].append({}), "has an entry without class, label, scan, z_min, z_max, dice"),
        (lambda results: results["scans"][0].pop("label"), "has an entry without label; test"),
    ],
)
def test_broken_results_are_one_sentence(tmp_path: Path, change, problem: str):
    results = make_results({"RK": [0.5]})
    change(results)
    with pytest.raises(ValueError, match=problem):
        load_results(write_run(tmp_path, "e", 1, results))


def test_the_seed_is_that_of_the_training_where_its_folder_is_there(tmp_path: Path):
    trained = tmp_path / "train" / "1"
    results = make_results({"RK": [0.5]}, snapshot=str(trained / "snapshots" / "5.pth"), step=5)
    write_run(tmp_path, "test", 1, results, seed=7)
    assert find_tested_runs([tmp_path])[0].seed == 7
    trained.mkdir(parents=True)
    (trained / "config.json").write_text('{"seed": 42}')
    assert find_tested_runs([tmp_path])[0].seed == 42


def test_trainings_and_states_without_those_that_are_broken(tmp_path: Path, caplog):
    write_run(tmp_path, "test", 1, make_results({"RK": [0.5]}, **at_step(5)))
    trained = tmp_path / "train" / "3"
    trained.mkdir(parents=True)
    (trained / "metrics.json").write_text(json.dumps({"query_loss": {"steps": [1, 2], "values": [0.5, 0.25]}}))
    state = {
        "experiment": {"name": "training", "repositories": [{"commit": "0123456789abcdef", "dirty": True}]},
        "host": {"hostname": "node1"}, "status": "INTERRUPTED", "start_time": "2026-01-02T03:04:05.678901",
    }  # fmt: skip
    (trained / "run.json").write_text(json.dumps(state))
    broken = tmp_path / "broken" / "1"
    broken.mkdir(parents=True)
    for name in ("metrics.json", "run.json"):
        (broken / name).write_text('{"query_loss": {"st')
    (run,) = find_trained_runs([tmp_path])
    assert (run.experiment, run.run, run.curves["query loss"]) == ("train", 3, ([1, 2], [0.5, 0.25]))
    (of_run,) = list_states([tmp_path])
    assert (of_run.entry_point, of_run.status, of_run.started, of_run.host, of_run.commit) == (
        "training", "INTERRUPTED", "2026-01-02T03:04:05", "node1", "0123456789+",
    )  # fmt: skip
    assert [record.getMessage().split(" does not")[0] for record in caplog.records] == [
        f"left out: {broken / name}" for name in ("metrics.json", "run.json")
    ]
