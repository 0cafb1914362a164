"""Experiments stand side by side only where they compare."""

from pathlib import Path

import pytest
from stage2.reporting.result_folders import adapted, make_results, write_run

from Stage2.reporting.comparisons import comparison_tables, paired_table
from Stage2.reporting.experiments import group_runs
from Stage2.reporting.runs import TestedRun, find_tested_runs


def experiments_of(folder: Path):
    return group_runs(find_tested_runs([folder]))


def run_of(results: dict) -> TestedRun:
    return TestedRun("e", 1, results, Path("e/1"))


def rows_of(table) -> dict[str, list[str]]:
    return {row[0]: list(row[1:]) for row in table.rows}


def test_the_comparison_names_protocol_and_undefined_values():
    (table,) = comparison_tables(
        {
            "untrained": run_of(make_results({"RK": [0.1, None], "LK": [0.3]})),
            "trained": run_of(make_results({"RK": [0.5], "LK": [0.7]})),
        }
    )
    assert table.setting.startswith("Protocol `paper`; CHAOST2, label set 0, fold 0;")
    assert list(table.header) == ["Dice", "untrained", "trained"]
    assert rows_of(table) == {"RK": ["0.100", "0.500"], "LK": ["0.300", "0.700"], "mean": ["0.200", "0.600"]}
    assert "left out of the means: RK (untrained): 1." in table.notes[0]


@pytest.mark.parametrize(
    "change", [{"protocol": "clean"}, {"fold": 1}, {"label_set": 1}, {"exclude_classes": [2, 3]}, adapted()]
)
def test_different_settings_never_share_a_comparison(change: dict):
    one = make_results({"RK": [0.1]})
    with pytest.raises(ValueError, match="compare like with like"):
        comparison_tables({"a": run_of(one), "b": run_of(one | change)})


def test_two_experiments_are_paired_by_scan(tmp_path: Path):
    for fold in (0, 1):
        write_run(tmp_path, f"a_vfold{fold}", 1, make_results({"RK": [0.1, 0.2], "LK": [0.3, 0.4]}, fold=fold))
        better = make_results({"RK": [0.2 + fold / 50, 0.35], "LK": [0.7, None]}, fold=fold)
        write_run(tmp_path, f"b_vfold{fold}", 1, better)
    first, second = experiments_of(tmp_path)
    rows = rows_of(paired_table(first, second))
    assert rows["RK"] == ["4", "0", "0.150", "0.280", "+0.135", "0.1250", "0.1250"]
    assert rows["LK"][:4] == ["2", "2", "0.300", "0.700"]
    assert rows["all, averaged per scan"][:2] == ["4", "0"]
    write_run(tmp_path, "c_vfold0", 1, make_results({"RK": [0.5]}, protocol="clean"))
    write_run(tmp_path, "d_vfold2", 1, make_results({"RK": [0.5], "LK": [0.5]}, fold=2))
    write_run(tmp_path, "e_vfold0", 1, make_results({"RK": [0.5]}, **adapted()))
    first, _, third, fourth, fifth = experiments_of(tmp_path)
    with pytest.raises(ValueError, match="cannot be paired"):
        paired_table(first, third)
    with pytest.raises(ValueError, match=r"cannot be paired .* method `adapted`"):
        paired_table(first, fifth)
    with pytest.raises(ValueError, match="no scan with Dice in common"):
        paired_table(first, fourth)
