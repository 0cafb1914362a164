"""Tables hold the numbers of the run folders, name the protocol and never mix settings."""

import csv
import io
from pathlib import Path

import pytest
from stage2.reporting.result_folders import make_results, write_run

from Stage2.evaluation.metrics import METRICS, Metric
from Stage2.io.text import csv_text
from Stage2.reporting.comparisons import comparison_tables
from Stage2.reporting.experiments import group_runs
from Stage2.reporting.runs import find_tested_runs
from Stage2.reporting.summaries import LONG_COLUMNS, fold_tables, long_columns, long_rows, summary_rows


def experiments_of(folder: Path):
    return group_runs(find_tested_runs([folder]))


def rows_of(table) -> dict[str, list[str]]:
    return {row[0]: list(row[1:]) for row in table.rows}


def test_the_long_table_has_every_scan_and_the_means(tmp_path: Path):
    write_run(tmp_path, "e_vfold3", 1, make_results({"RK": [0.2, None], "LK": [0.6, 0.8]}, fold=3))
    runs = find_tested_runs([tmp_path])
    found = long_rows(group_runs(runs), runs)
    rows = list(csv.DictReader(io.StringIO(csv_text(found, long_columns(found)))))
    assert tuple(rows[0]) == (*LONG_COLUMNS, "dice", "precision", "recall", "seed", "snapshot")
    assert {(row["protocol"], row["method"], row["dataset"], row["fold"], row["label_set"]) for row in rows} == {
        ("paper", "prototypes", "CHAOST2", "3", "0")
    }
    dice = {(row["class"], row["scan"]): row["dice"] for row in rows}
    assert len(rows) == len(dice) == 7
    assert dice[("RK", "30")] == "0.2"
    assert dice[("RK", "31")] == ""
    assert dice[("RK", "mean")] == "0.2"
    assert float(dice[("LK", "mean")]) == pytest.approx(0.7)
    assert float(dice[("mean", "mean")]) == pytest.approx(0.45)


def test_folds_share_a_table_with_mean_and_spread_and_missing_ones_are_shown(tmp_path: Path):
    for fold, dice in ((0, 0.2), (1, 0.4), (3, None)):
        write_run(tmp_path, f"test_vfold{fold}", 1, make_results({"RK": [dice], "LK": [0.5]}, fold=fold))
    (table,) = fold_tables(experiments_of(tmp_path))
    assert table.title == "test_vfold*, untrained"
    assert table.setting.startswith("Protocol `paper`; CHAOST2, label set 0;")
    header = ["Dice", *(f"fold {fold}" for fold in range(5)), "mean Dice", "mean precision", "mean recall"]
    assert list(table.header) == header
    spreads = ["0.500 ± 0.000", "0.250 ± 0.000"]
    assert rows_of(table)["RK"] == ["0.200", "0.400", "missing", "-", "missing", "0.300 ± 0.141", *spreads]
    assert rows_of(table)["mean"][:3] == ["0.350", "0.450", "missing"]
    assert table.notes == ["Undefined values (0/0), left out of the means: RK (fold 3): 1."]


def test_distances_and_the_full_volume_have_their_columns(tmp_path: Path):
    results = make_results({"RK": [0.5]}, protocol="clean", slice_matching="extent")
    for entry in (*results["scans"], results["class_means"]["RK"], results["mean"]):
        entry |= {"hd95_mm": 12.34, "assd_mm": None}
        entry["full_volume"] = {"dice": 0.25, "precision": 0.5, "recall": 0.5, "hd95_mm": 99.9, "assd_mm": 1.0}
    write_run(tmp_path, "test_vfold0", 1, results)
    in_range, whole = fold_tables(experiments_of(tmp_path))
    assert list(in_range.header[-2:]) == ["mean HD95 (mm)", "mean ASSD (mm)"]
    assert rows_of(in_range)["RK"][-2:] == ["12.3", "-"]
    assert rows_of(whole)["RK"][0] == "0.250"
    assert "full volume" in whole.setting
    columns = long_columns(long_rows([], find_tested_runs([tmp_path])))
    assert columns[len(LONG_COLUMNS) :] == [
        *("dice", "precision", "recall", "slice_matching", "hd95_mm", "assd_mm", "full_volume_dice"),
        *("full_volume_precision", "full_volume_recall", "full_volume_hd95_mm", "full_volume_assd_mm", "seed"),
    ]
    of_class = [row for row in summary_rows(experiments_of(tmp_path)) if row["class"] == "RK"]
    values = {(row["region"], row["metric"]): row["mean"] for row in of_class}
    assert (values["in_range", "hd95_mm"], values["full_volume", "hd95_mm"]) == (12.34, 99.9)


def test_unusual_settings_and_supports_have_columns_where_there_are_any(tmp_path: Path):
    for fold, change in enumerate(({}, {"val_wsize": 4, "z_margin": 1}, {"support_idx": [0]})):
        write_run(tmp_path, f"test_vfold{fold}", 1, make_results({"RK": [0.5]}, fold=fold, **change))
    rows = summary_rows(experiments_of(tmp_path))
    assert {(row.get("unusual"), row.get("supports")) for row in rows} == {
        (None, None), ("val_wsize=4, z_margin=1", None), (None, "[0]"),
    }  # fmt: skip
    assert {"unusual", "supports"} <= set(long_columns(long_rows([], find_tested_runs([tmp_path]))))


def test_a_metric_that_a_file_holds_is_in_every_table(tmp_path: Path, monkeypatch):
    """One in the project's table, with its heading, unit and digits; one that nobody knows, as it is named."""
    monkeypatch.setitem(METRICS, "volume_ml", Metric("volume error", lambda masks: 0.0, "ml", "lower", digits=1))
    results = make_results({"RK": [0.5]})
    for entry in (*results["scans"], results["class_means"]["RK"], results["mean"]):
        entry |= {"oddity": 0.25, "volume_ml": 12.34}
    write_run(tmp_path, "test_vfold0", 1, results)
    (table,) = fold_tables(experiments_of(tmp_path))
    assert list(table.header[-2:]) == ["mean volume error (ml)", "mean oddity"]
    assert rows_of(table)["RK"][-2:] == ["12.3", "0.250"]
    columns = long_columns(rows := long_rows([], find_tested_runs([tmp_path])))
    assert columns[-4:] == ["recall", "volume_ml", "oddity", "seed"]
    assert [row["oddity"] for row in rows] == [0.25] * 3
    assert {row["metric"] for row in summary_rows(experiments_of(tmp_path))} >= {"volume_ml", "oddity"}
    (run,) = find_tested_runs([tmp_path])
    compared = comparison_tables({"a": run, "b": run})
    assert [table.header[0] for table in compared] == ["Dice", "volume error (ml)", "oddity"]
