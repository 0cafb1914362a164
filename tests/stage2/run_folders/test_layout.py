"""Run folders are found, ordered and read as they are laid out."""

import json
from pathlib import Path

import pytest

from Stage2.run_folders.layout import (
    experiment_folder,
    last_step,
    list_runs,
    list_snapshots,
    prediction_path,
    read_results,
    read_scalars,
    snapshot_path,
)


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def test_experiment_folder_has_the_published_name():
    folder = experiment_folder("./exps/x", "train_vfold0", "CHAOST2_Superpix", 0)
    assert folder == Path("exps/x/mySSL_train_vfold0_CHAOST2_Superpix_sets_0_1shot")
    assert experiment_folder("a", "b", "c", 1, n_shots=5).name == "mySSL_b_c_sets_1_5shot"


def test_runs_are_sorted_by_number_and_other_entries_passed_over(tmp_path: Path):
    for name in ("10", "9", "1", "_sources", "2b"):
        (tmp_path / name).mkdir()
    (tmp_path / "3").touch()
    assert [run.name for run in list_runs(tmp_path)] == ["1", "9", "10"]
    assert list_runs(tmp_path / "absent") == []


def test_snapshots_are_sorted_by_step(tmp_path: Path):
    for step in (1000, 200, 30):
        touch(snapshot_path(tmp_path, step))
    touch(tmp_path / "snapshots" / "last.pth")
    touch(tmp_path / "snapshots" / "5.tmp")
    assert [step for step, _ in list_snapshots(tmp_path)] == [30, 200, 1000]
    assert list_snapshots(tmp_path)[0][1] == tmp_path / "snapshots" / "30.pth"


def test_prediction_files_carry_scan_and_label(tmp_path: Path):
    assert prediction_path(tmp_path, "13", 2) == tmp_path / "interm_preds" / "scan_13_label_2.nii.gz"


def test_results_and_scalars_are_read(tmp_path: Path):
    (tmp_path / "results.json").write_text(json.dumps({"protocol": "paper"}))
    (tmp_path / "metrics.json").write_text(
        json.dumps({"query_loss": {"steps": [10, 20], "values": [0.5, 0.25], "timestamps": ["a", "b"]}})
    )
    assert read_results(tmp_path) == {"protocol": "paper"}
    assert read_scalars(tmp_path) == {"query_loss": ([10, 20], [0.5, 0.25])}


@pytest.mark.parametrize(("name", "reader"), [("results.json", read_results), ("metrics.json", read_scalars)])
def test_missing_and_broken_files_are_named(tmp_path: Path, name: str, reader):
    with pytest.raises(FileNotFoundError, match=f"{name} does not exist"):
        reader(tmp_path)
    (tmp_path / name).write_text('{"scans": [')
    with pytest.raises(ValueError, match=f"{name} does not hold a JSON object"):
        reader(tmp_path)


def test_scalars_without_steps_are_an_error(tmp_path: Path):
    (tmp_path / "metrics.json").write_text('{"loss": [1, 2]}')
    with pytest.raises(ValueError, match="not a table of scalars"):
        read_scalars(tmp_path)


def test_the_step_that_a_training_has_reported(tmp_path: Path):
    assert last_step(tmp_path) == 0
    for number, steps in ((1, [100, 900]), (2, [10, 20])):
        metrics = touch(tmp_path / str(number) / "metrics.json")
        metrics.write_text(json.dumps({"total_loss": {"steps": steps, "values": steps}}))
    (tmp_path / "3").mkdir()  # has reported nothing yet
    assert last_step(tmp_path) == 20
    assert last_step(tmp_path, earlier=[tmp_path / "2"]) == 900
