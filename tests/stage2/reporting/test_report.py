"""What the page shows of which runs."""

import json
from pathlib import Path

from stage2.reporting.result_folders import at_step, make_results, write_run

from Stage2.reporting.experiments import group_runs
from Stage2.reporting.report import Collected, page, texts
from Stage2.reporting.runs import find_tested_runs, find_trained_runs, list_states


def collected(folder: Path) -> Collected:
    tested = find_tested_runs([folder])
    return Collected(tested, group_runs(tested), find_trained_runs([folder]), list_states([folder]))


def section(text: str, anchor: str) -> str:
    return text.partition(f'<section id="{anchor}">')[2].partition("</section>")[0]


def test_cases_are_of_one_snapshot_of_an_experiment_and_tables_of_all(tmp_path: Path):
    for run, step in enumerate((100, 200), start=1):
        write_run(tmp_path, "test_vfold0", run, make_results({"RK": [0.5]}, **at_step(step)))
    text = page(collected(tmp_path), None)
    assert section(text, "folds").count("<h3>") == 3  # both steps, and the best of every fold
    assert section(text, "cases").count("<h3>") == 1
    assert "best tested step of every fold" in section(text, "cases")


def test_trainings_of_the_folds_share_a_figure_and_every_run_has_its_state(tmp_path: Path):
    write_run(tmp_path, "test_vfold0", 1, make_results({"RK": [0.5]}))
    curve = {"query_loss": {"steps": [1, 2], "values": [1.0, 0.5]}}
    state = {"experiment": {"name": "training"}, "host": {"hostname": "node7"}, "status": "FAILED"}
    for fold, run in ((0, 1), (0, 2), (1, 1)):
        folder = tmp_path / f"train_vfold{fold}" / str(run)
        folder.mkdir(parents=True)
        (folder / "metrics.json").write_text(json.dumps(curve))
        (folder / "run.json").write_text(json.dumps(state))
    text = page(collected(tmp_path), None)
    assert section(text, "training").count("<img") == 1
    assert section(text, "runs").count("failed") == 3
    assert "node7" in section(text, "runs")


def test_a_report_without_a_defined_score_is_written(tmp_path: Path):
    write_run(tmp_path, "test_vfold0", 1, make_results({"RK": [None]}))
    written = texts(collected(tmp_path), None)
    assert "<img" not in section(written["report.html"], "overall")
    assert "Undefined values (0/0), left out of the means: RK (fold 0): 1." in written["results.md"]
