"""Tables hold the numbers of the run folders, name the protocol and never mix settings."""

import csv
import io
import json
from pathlib import Path

import pytest

from Stage2.evaluation.report import (
    LONG_COLUMNS,
    comparison_table,
    csv_text,
    find_tested_runs,
    fold_tables,
    latest_results,
    load_results,
    long_rows,
    markdown_table,
)


def make_results(dice: dict[str, list[float | None]], fold: int = 0, **changes) -> dict:
    scans, means = [], {}
    for label, (name, values) in enumerate(dice.items(), start=2):
        for scan, value in enumerate(values):
            scans.append(
                {"class": name, "label": label, "scan": str(scan), "z_min": 1, "z_max": 5}
                | {"dice": value, "precision": 0.5, "recall": 0.25}
            )
        defined = [value for value in values if value is not None]
        means[name] = {
            "dice": sum(defined) / len(defined) if defined else None,
            "precision": 0.5,
            "recall": 0.25,
            "scans": len(values),
            "undefined": len(values) - len(defined),
        }
    mean = {"dice": sum(m["dice"] or 0 for m in means.values()) / len(means), "precision": 0.5, "recall": 0.25}
    results = {
        "protocol": "paper",
        "dataset": "CHAOST2",
        "fold": fold,
        "label_set": 0,
        "exclude_classes": [],
        "modelname": "dlfcn_res18",
        "snapshot": None,
        "step": None,
        "support": {},
    }
    return results | {"scans": scans, "class_means": means, "mean": mean} | changes


def write(folder: Path, experiment: str, run: int, results: dict) -> Path:
    path = folder / experiment / str(run)
    path.mkdir(parents=True)
    (path / "results.json").write_text(json.dumps(results))
    return path


def table_cells(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("|") and "---" not in line]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_runs_are_found_below_nested_folders_once(tmp_path: Path):
    results = make_results({"RK": [0.5]})
    write(tmp_path, "s1/mySSL_test_vfold0", 2, results)
    write(tmp_path, "s1/mySSL_test_vfold0", 10, results)
    write(tmp_path, "_sources", "x", results)
    runs = find_tested_runs([tmp_path, tmp_path / "s1"])
    assert [(tested.experiment, tested.run) for tested in runs] == [("s1/mySSL_test_vfold0", n) for n in (2, 10)]
    assert find_tested_runs([tmp_path / "s1" / "mySSL_test_vfold0"])[0].experiment == "mySSL_test_vfold0"


def test_no_folder_and_no_results_are_errors(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="is not a folder"):
        find_tested_runs([tmp_path / "absent"])
    with pytest.raises(FileNotFoundError, match="test an experiment first"):
        find_tested_runs([tmp_path])


def test_results_without_a_protocol_are_an_error(tmp_path: Path):
    results = make_results({"RK": [0.5]})
    del results["protocol"]
    with pytest.raises(ValueError, match="lacks protocol"):
        load_results(write(tmp_path, "e", 1, results))


def test_the_long_table_has_every_scan_and_the_means(tmp_path: Path):
    write(tmp_path, "e_vfold3", 1, make_results({"RK": [0.2, None], "LK": [0.6, 0.8]}, fold=3))
    rows = list(csv.DictReader(io.StringIO(csv_text(long_rows(find_tested_runs([tmp_path]))))))
    assert tuple(rows[0]) == LONG_COLUMNS
    assert {(row["protocol"], row["dataset"], row["fold"], row["label_set"]) for row in rows} == {
        ("paper", "CHAOST2", "3", "0")
    }
    dice = {(row["class"], row["scan"]): row["dice"] for row in rows}
    assert len(rows) == len(dice) == 7
    assert dice[("RK", "0")] == "0.2"
    assert dice[("RK", "1")] == ""
    assert dice[("RK", "mean")] == "0.2"
    assert float(dice[("LK", "mean")]) == pytest.approx(0.7)
    assert float(dice[("mean", "mean")]) == pytest.approx(0.45)


def test_the_comparison_names_protocol_and_undefined_values():
    text = comparison_table(
        {
            "untrained": make_results({"RK": [0.1, None], "LK": [0.3]}),
            "trained": make_results({"RK": [0.5], "LK": [0.7]}),
        }
    )
    assert text.startswith("Protocol `paper`; CHAOST2, label set 0, fold 0;")
    assert table_cells(text) == [
        ["Dice", "untrained", "trained"],
        ["RK", "0.100", "0.500"],
        ["LK", "0.300", "0.700"],
        ["**mean**", "0.200", "0.600"],
    ]
    assert "left out of the means: RK (untrained): 1." in text


@pytest.mark.parametrize("change", [{"protocol": "clean"}, {"fold": 1}, {"label_set": 1}, {"exclude_classes": [2, 3]}])
def test_different_settings_never_share_a_comparison(change: dict):
    one = make_results({"RK": [0.1]})
    with pytest.raises(ValueError, match="compare like with like"):
        comparison_table({"a": one, "b": one | change})


def test_folds_share_a_table_and_the_latest_run_counts(tmp_path: Path):
    write(tmp_path, "test_vfold0", 9, make_results({"RK": [0.9]}, fold=0))
    write(tmp_path, "test_vfold0", 10, make_results({"RK": [0.2]}, fold=0))
    write(tmp_path, "test_vfold1", 1, make_results({"RK": [0.4]}, fold=1))
    text = fold_tables(find_tested_runs([tmp_path]))
    assert text.startswith("### test_vfold*\n\nProtocol `paper`; CHAOST2, label set 0;")
    assert table_cells(text) == [
        ["Dice", "fold 0", "fold 1", "mean Dice", "mean precision", "mean recall"],
        ["RK", "0.200", "0.400", "0.300", "0.500", "0.250"],
        ["**mean**", "0.200", "0.400", "0.300", "0.500", "0.250"],
    ]


def test_protocols_get_tables_of_their_own(tmp_path: Path):
    write(tmp_path, "test_vfold0", 1, make_results({"RK": [0.9]}))
    write(tmp_path, "test_vfold0", 2, make_results({"RK": [0.2]}, protocol="clean"))
    text = fold_tables(find_tested_runs([tmp_path]))
    assert text.count("### ") == 2
    assert "Protocol `clean`" in text and "Protocol `paper`" in text


def test_a_class_that_is_undefined_everywhere_has_no_number(tmp_path: Path):
    write(tmp_path, "test_vfold0", 1, make_results({"RK": [None]}, mean=dict.fromkeys(("dice", "precision", "recall"))))
    assert table_cells(fold_tables(find_tested_runs([tmp_path])))[1] == ["RK", "-", "-", "0.500", "0.250"]


def test_latest_results_skip_runs_that_were_not_tested(tmp_path: Path):
    write(tmp_path, "e", 2, make_results({"RK": [0.9]}))
    (tmp_path / "e" / "3").mkdir()
    assert latest_results(tmp_path / "e")[0] == tmp_path / "e" / "2"
    with pytest.raises(FileNotFoundError, match="test this experiment first"):
        latest_results(tmp_path / "f")


def test_columns_line_up_as_plain_text():
    lines = markdown_table(["a", "long heading"], [["organ", "1"], ["b", "0.123"]]).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert lines[1] == "| ----- | -----------: |"


def with_volume(results: dict, dice: float, **changes) -> dict:
    """The same results with distances, and the full volume: Dice as given everywhere."""
    more = {"hd95_mm": 12.5, "assd_mm": 2.5}
    whole = {"dice": dice, "precision": 0.1, "recall": 0.2, "hd95_mm": 40.0, "assd_mm": None}
    results = json.loads(json.dumps(results)) | changes
    for entry in [*results["scans"], *results["class_means"].values(), results["mean"]]:
        entry.update(more, full_volume=dict(whole))
    for entry in results["class_means"].values():
        entry["full_volume"] |= {"undefined": 0, "undefined_distances": 2}
    return results


def test_the_long_table_has_further_columns_only_where_a_run_has_them(tmp_path: Path):
    write(tmp_path, "a", 1, make_results({"RK": [0.5]}))
    write(tmp_path, "b", 1, with_volume(make_results({"RK": [0.5]}), 0.25, protocol="clean", slice_matching="position"))
    reader = csv.DictReader(io.StringIO(csv_text(long_rows(find_tested_runs([tmp_path])))))
    rows = {row["experiment"]: row for row in reader}
    more = [
        "slice_matching", "hd95_mm", "assd_mm", "full_volume_dice", "full_volume_precision", "full_volume_recall",
        "full_volume_hd95_mm", "full_volume_assd_mm",
    ]  # fmt: skip
    assert reader.fieldnames == [*LONG_COLUMNS, *more]
    assert [rows["a"][name] for name in ("protocol", *more)] == ["paper", *[""] * 8]
    expected = ["clean", "position", "12.5", "2.5", "0.25", "0.1", "0.2", "40.0", ""]
    assert [rows["b"][name] for name in ("protocol", *more)] == expected


def test_the_full_volume_has_a_table_of_its_own(tmp_path: Path):
    write(tmp_path, "t_vfold0", 1, with_volume(make_results({"RK": [0.5]}), 0.25, slice_matching="position"))
    text = fold_tables(find_tested_runs([tmp_path]))
    in_range, whole = text.split("all slices.")
    assert text.count("Protocol `paper`, slices matched by `position`") == 2
    header = ["Dice", "fold 0", "mean Dice", "mean precision", "mean recall", "mean HD95 (mm)", "mean ASSD (mm)"]
    assert table_cells(in_range)[:2] == [header, ["RK", "0.500", "0.500", "0.500", "0.250", "12.500", "2.500"]]
    assert table_cells(whole)[:2] == [header, ["RK", "0.250", "0.250", "0.100", "0.200", "40.000", "-"]]
    assert "Undefined distances (an empty mask), left out of the means: RK (fold 0): 2." in whole
    assert "Undefined" not in in_range


def test_a_fold_without_the_full_volume_has_no_number_in_its_table(tmp_path: Path):
    write(tmp_path, "t_vfold0", 1, with_volume(make_results({"RK": [0.5]}), 0.25))
    write(tmp_path, "t_vfold1", 1, make_results({"RK": [0.7]}, fold=1))
    whole = fold_tables(find_tested_runs([tmp_path])).split("all slices.")[1]
    assert table_cells(whole)[1][:4] == ["RK", "0.250", "-", "0.250"]


def test_comparisons_add_tables_that_all_tests_have():
    one, two = (with_volume(make_results({"RK": [dice]}), dice / 2) for dice in (0.4, 0.8))
    text = comparison_table({"one": one, "two": two})
    assert text.count("Protocol `paper`;") == 6
    assert [row for row in table_cells(text) if row[0] == "RK"] == [
        ["RK", "0.400", "0.800"], ["RK", "12.500", "12.500"], ["RK", "2.500", "2.500"],
        ["RK", "0.200", "0.400"], ["RK", "40.000", "40.000"], ["RK", "-", "-"],
    ]  # fmt: skip
    mixed = comparison_table({"one": one, "plain": make_results({"RK": [0.1]})})
    assert mixed.count("Protocol") == 1 and "volume" not in mixed


def test_matchings_never_share_a_table():
    one = make_results({"RK": [0.1]}, protocol="clean", slice_matching="position")
    with pytest.raises(ValueError, match="compare like with like"):
        comparison_table({"a": one, "b": one | {"slice_matching": "similarity"}})
