"""Tables of every support, and that what tells results apart is said and never mixed."""

import csv
import io

import pytest
from stage2.reporting.result_folders import make_results, write_run

from Stage2.io.text import csv_text
from Stage2.reporting.comparisons import comparison_tables
from Stage2.reporting.experiments import find_experiment, group_runs
from Stage2.reporting.overall import overall_results
from Stage2.reporting.runs import find_tested_runs, load_results
from Stage2.reporting.setting import setting_of
from Stage2.reporting.summaries import ADDED_COLUMNS, SUMMARY_COLUMNS, long_columns, long_rows, summary_rows
from Stage2.reporting.supports import support_tables


def every_support(dice: dict[str, list[float]], fold: int, **changes) -> dict:
    """results.json of a test of two supports, the second of which scores 0.2 more."""
    more = {name: [value + 0.2 for value in values] for name, values in dice.items()}
    supports = [{"scan": scan, **make_results(own, fold)} for scan, own in (("98", dice), ("99", more))]
    mean = {name: [value + 0.1 for value in values] for name, values in dice.items()}
    return make_results(mean, fold, support_idx="all", supports=supports, **changes)


@pytest.fixture
def runs(tmp_path):
    write_run(tmp_path, "test_vfold0", 1, every_support({"RK": [0.2, 0.4], "LK": [0.5, 0.5]}, 0))
    write_run(tmp_path, "test_vfold1", 1, every_support({"RK": [0.6, 0.6], "LK": [0.1, 0.3]}, 1))
    write_run(tmp_path, "test_vfold0", 2, make_results({"RK": [0.9], "LK": [0.9]}))
    return find_tested_runs([tmp_path])


def test_a_table_has_rows_of_every_fold_class_and_of_all_folds(runs):
    (table,) = support_tables(group_runs(runs))
    assert table.header == [
        "Dice", "mean", "sd over supports", "worst", "best", "95 % over scans", "supports", "scans"
    ]  # fmt: skip
    names = [f"{fold}, {name}" for fold in ("fold 0", "fold 1", "all folds") for name in ("RK", "LK", "mean")]
    assert [row[0] for row in table.rows] == names
    cells = {row[0]: row[1:] for row in table.rows}
    assert cells["fold 0, RK"][:4] == ["0.400", "0.141", "0.300 (98)", "0.500 (99)"]
    assert cells["fold 0, mean"][:4] == ["0.500", "0.141", "0.400 (98)", "0.600 (99)"]
    assert cells["fold 1, mean"][:4] == ["0.500", "0.141", "0.400 (98)", "0.600 (99)"]
    assert cells["all folds, RK"][:4] == ["0.550", "0.141", "0.450", "0.650"]
    assert (cells["fold 0, LK"][4], cells["fold 0, LK"][5:]) == ("0.600 to 0.600", ["2", "2"])
    assert cells["all folds, mean"][5:] == ["4", "4"]
    assert table.strong == {2, 5, 8}


def test_one_support_and_every_support_are_two_experiments(runs):
    experiments = group_runs(runs)
    assert sorted(one.setting.supports for one in experiments) == ["", "all"]
    titles = [overall.title for overall in overall_results(experiments)]
    assert titles == ["CHAOST2, setting 1, paper protocol", "CHAOST2, setting 1, paper protocol, every support in turn"]
    assert [bool(overall.published) for overall in overall_results(experiments)] == [True, False]
    assert find_experiment(experiments, "every support").setting.supports == "all"
    with pytest.raises(ValueError, match="cannot share a table"):
        comparison_tables({"one": runs[0], "other": next(run for run in runs if run.run == 2)})


ADNET = {"protocol": "adnet", "fold_scheme": "overlapping"}
OTHERS = [
    (ADNET | {"support_idx": [2]}, "adnet protocol, support [2] of the fold"),
    (ADNET | {"support_idx": [3]}, "adnet protocol, support [3] of the fold"),
    ({"protocol": "adnet", "support_idx": [2]}, "adnet protocol, disjoint folds, support [2] of the fold"),
    ({"fold_scheme": "overlapping"}, "paper protocol, overlapping folds"),
    ({"dataset": "SABS", "ct_statistics": "volume"}, "paper protocol, CT by statistics of the volume"),
    ({"support_idx": [-1], "fold_scheme": "disjoint", "ct_statistics": None, "exclude_rule": "any"}, "paper protocol"),
    ({}, "paper protocol"),
]  # fmt: skip


def test_what_tells_tests_apart_is_in_their_settings(tmp_path):
    for number, (changes, _) in enumerate(OTHERS, start=1):
        write_run(tmp_path, "test_vfold0", number, make_results({"RK": [0.5]}, **changes) | {"supports": [
            {"scan": "1", **make_results({"RK": [0.5]})}]})  # fmt: skip
    runs = sorted(find_tested_runs([tmp_path]), key=lambda run: run.run)
    settings = [setting_of(run) for run in runs]
    assert [own.way for own in settings] == [way for _, way in OTHERS]
    assert settings[-1] == settings[-2]  # results from before there were such settings
    words = {own.words() for own in settings}
    assert len(words) == len(OTHERS) - 1 == len(set(settings))


def test_the_rule_of_exclusion_is_told_where_classes_are_excluded(tmp_path):
    both = {"exclude_classes": [2, 3], "exclude_rule": "all"}
    for number, changes in enumerate((both, both | {"exclude_rule": "any"}, {"exclude_rule": "all"}), start=1):
        write_run(tmp_path, "test_vfold0", number, make_results({"RK": [0.5]}, **changes))
    experiments = group_runs(find_tested_runs([tmp_path]))
    titles = [overall.title for overall in overall_results(experiments)]
    assert sorted(titles) == [
        "CHAOST2, excluded classes [2, 3] (slices that show all of them), paper protocol",
        "CHAOST2, setting 1, paper protocol",
        "CHAOST2, setting 2, paper protocol",
    ]
    told = [one.setting.words() for one in experiments if one.setting.exclude_rule == "all"]
    assert told == [
        "Protocol `paper`; CHAOST2, label set 0; classes excluded from training slices: 2, 3 (slices that show all of "
        "them)."
    ]


def test_files_of_values_have_columns_for_what_is_unusual_alone(runs, tmp_path):
    experiments = group_runs(runs)
    rows = summary_rows(experiments)
    header = next(csv.reader(io.StringIO(csv_text(rows, SUMMARY_COLUMNS, ADDED_COLUMNS))))
    assert header == [*SUMMARY_COLUMNS, "supports"]
    assert {row.get("supports") for row in rows} == {None, "all"}
    assert "supports" in long_columns(long_rows(experiments, runs))
    usual = [one for one in experiments if not one.setting.supports]
    assert csv_text(summary_rows(usual), SUMMARY_COLUMNS, ADDED_COLUMNS).splitlines()[0] == ",".join(SUMMARY_COLUMNS)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"supports": []}, "lacks supports, which support_idx=all writes"),
        ({"supports": [{"scan": 4}]}, "holds 4 as scan, which no run writes"),
        ({"support_idx": "some"}, "holds 'some' as support_idx"),
        ({"fold_scheme": 3}, "holds 3 as fold_scheme"),
    ],
)
def test_damaged_results_are_named(tmp_path, changes, sentence):
    run = write_run(tmp_path, "test_vfold0", 1, every_support({"RK": [0.2]}, 0) | changes)
    with pytest.raises(ValueError, match=sentence):
        load_results(run)
