"""The collector writes both files from run folders and prints the table."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def collect(*arguments: str | Path) -> subprocess.CompletedProcess:
    command = [sys.executable, str(ROOT / "tools" / "collect_results.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def write_run(folder: Path, dice: float, protocol: str = "paper") -> Path:
    metrics = {"dice": dice, "precision": 0.5, "recall": 0.25}
    results = {"protocol": protocol, "dataset": "CHAOST2", "fold": 0, "label_set": 0, "exclude_classes": []}
    results["scans"] = [{"class": "RK", "label": 2, "scan": "1", "z_min": 0, "z_max": 3} | metrics]
    results |= {"class_means": {"RK": metrics | {"scans": 1, "undefined": 0}}, "mean": metrics}
    (folder / "1").mkdir(parents=True)
    (folder / "1" / "results.json").write_text(json.dumps(results))
    return folder


@pytest.fixture
def exps(tmp_path: Path) -> Path:
    write_run(tmp_path / "exps" / "untrained_vfold0", 0.125)
    write_run(tmp_path / "exps" / "test_vfold0", 0.5)
    return tmp_path / "exps"


def test_both_files_are_written_and_the_tables_printed(exps: Path, tmp_path: Path):
    result = collect(exps, "--out", tmp_path / "new" / "out")
    assert result.returncode == 0, result.stderr
    table = (tmp_path / "new" / "out" / "results.md").read_text()
    assert table.count("Protocol `paper`") == 2
    assert "| RK" in result.stdout and "0.500" in result.stdout
    lines = (tmp_path / "new" / "out" / "results.csv").read_text().splitlines()
    assert len(lines) == 1 + 2 * 3
    assert "test_vfold0,1,paper,CHAOST2,0,0,RK,1,0.5,0.5,0.25" in lines
    assert not list((tmp_path / "new" / "out").glob("*.partial"))


def test_the_comparison_is_printed_and_comes_first(exps: Path):
    result = collect(exps, "--compare", f"untrained={exps / 'untrained_vfold0'}", f"trained={exps / 'test_vfold0'}")
    assert "| RK       |     0.125 |   0.500 |" in result.stdout
    assert "###" not in result.stdout
    assert (exps / "results.md").read_text().startswith("# Results\n\n### Comparison\n\nProtocol `paper`")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["absent"], "absent is not a folder"),
        (["{exps}", "--compare", "a={exps}/none"], "test this experiment first"),
        (["{exps}", "--compare", "a={exps}/test_vfold0", "b={exps}/clean_vfold0"], "compare like with like"),
    ],
)
def test_what_cannot_be_tabled_is_one_sentence(exps: Path, arguments: list[str], sentence: str):
    write_run(exps / "clean_vfold0", 0.5, protocol="clean")
    result = collect(*(argument.format(exps=exps) for argument in arguments))
    assert result.returncode == 1
    assert sentence in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not (exps / "results.csv").exists()
