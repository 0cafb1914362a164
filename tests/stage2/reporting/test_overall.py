"""Label sets make one row; published numbers stand beside what compares with them, and nothing else."""

from pathlib import Path

import pytest
from stage2.reporting.result_folders import adapted, at_step, make_results, write_run

from Stage2.reporting.experiments import group_runs
from Stage2.reporting.overall import overall_results
from Stage2.reporting.runs import find_tested_runs

RUNS = "mri_ct_s{}_l{}/02/mySSL_test_vfold{}_CHAOST2_Superpix_sets_{}_1shot"


def overall_of(folder: Path):
    return overall_results(group_runs(find_tested_runs([folder])))


def rows_of(table) -> dict[str, list[str]]:
    return {row[0]: list(row[1:]) for row in table.rows}


def test_label_sets_make_one_row_beside_the_published_numbers(tmp_path: Path):
    for fold in range(5):
        step = at_step(100_100)
        kidneys = make_results({"RK": [0.7 + fold / 100], "LK": [0.8]}, fold=fold, **step)
        others = make_results({"LIVER": [0.9], "SPLEEN": [0.6]}, fold=fold, label_set=1, **step)
        write_run(tmp_path, RUNS.format(1, 0, fold, 0), 1, kidneys)
        if fold != 2:
            write_run(tmp_path, RUNS.format(1, 1, fold, 1), 1, others)
    (table,) = (one.table() for one in overall_of(tmp_path))
    assert table.title == "CHAOST2, setting 1, paper protocol"
    assert list(table.header) == ["Dice", "snapshot", "LIVER", "RK", "LK", "SPLEEN", "mean", "runs"]
    rows = rows_of(table)
    assert rows["mri_ct_s1_l*/02/test"] == [
        "step 100100", "0.900 ± 0.000", "0.720 ± 0.016", "0.800 ± 0.000", "0.600 ± 0.000", "0.755 ± 0.005", "9/10",
    ]  # fmt: skip
    assert rows["DenseMP (published)"][-2] == "0.798"
    assert rows["SSL-ALPNet (published)"][-2] == "0.788"
    assert table.notes[0] == "Missing folds: mri_ct_s1_l*/02/test, step 100100 (label set 1: 2)."


@pytest.mark.parametrize(
    ("change", "published"),
    [
        ({}, ["0.730", "0.769"]),
        ({"protocol": "clean"}, []),
        ({"exclude_classes": [2]}, []),
        ({"dataset": "heart"}, []),
    ],
)
def test_published_numbers_stand_beside_what_compares_only(tmp_path: Path, change: dict, published: list[str]):
    results = make_results({"RK": [0.5], "LK": [0.5]}, **({"exclude_classes": [2, 3]} | change))
    write_run(tmp_path, RUNS.format(2, 0, 0, 0), 1, results)
    (table,) = (one.table() for one in overall_of(tmp_path))
    rows = rows_of(table)
    assert [row[-2] for name, row in rows.items() if "published" in name] == published
    assert rows["mri_ct_s2_l*/02/test"][-2] == ("missing" if change != {"dataset": "heart"} else "0.500")


def test_adapted_networks_have_a_table_of_their_own_without_published_numbers(tmp_path: Path):
    write_run(tmp_path, RUNS.format(1, 0, 0, 0), 1, make_results({"RK": [0.5]}, **at_step(100)))
    write_run(tmp_path, RUNS.format(1, 0, 0, 0), 2, make_results({"RK": [0.9]}, **adapted()))
    found = {one.table().title: rows_of(one.table()) for one in overall_of(tmp_path)}
    title = "CHAOST2, setting 1, paper protocol"
    assert found.keys() == {title, f"{title}, method adapted"}
    assert [name for name in found[title] if "published" in name] == ["SSL-ALPNet (published)", "DenseMP (published)"]
    (row,) = found[f"{title}, method adapted"].values()
    assert row[0] == "adapted from random weights, 3 minutes of processor time"
    assert row[2] == "0.900"


def test_phantoms_are_not_set_beside_published_numbers(tmp_path: Path):
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "manifest.json").write_text("{}")
    path = {"data_dir": str(tmp_path / "demo")}
    write_run(tmp_path, RUNS.format(1, 0, 0, 0), 1, make_results({"RK": [0.5]}), path=path)
    (table,) = (one.table() for one in overall_of(tmp_path))
    assert table.title.startswith("CHAOST2 phantoms, setting 1")
    assert len(table.rows) == 1
