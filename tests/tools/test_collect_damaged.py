"""Whatever stands in the files of one run, the collector goes on with the others and names the file in one line."""

import json
import logging
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from stage2.reporting.result_folders import make_results, write_run
from tool_modules import load_tool

from Stage2.reporting import report
from Stage2.reporting.experiments import group_runs
from Stage2.reporting.report import Collected, texts
from Stage2.reporting.runs import find_tested_runs, find_trained_runs, list_states

ROOT = Path(__file__).resolve().parents[2]
STATUS = {
    "experiment": {"name": "validation", "repositories": [{"commit": "0123456789abcdef", "dirty": False}]},
    "host": {"hostname": "n1"}, "status": "COMPLETED", "start_time": "2026-01-02T03:04:05",
}  # fmt: skip
CURVE = {"query_loss": {"steps": [1, 2], "values": [1.0, 0.5]}}
VALUES = [
    None, True, -1, 10**12, 1e400, math.nan, 0.5, "", "x", "\x00", "\udcff", "$<script>", "a" * 5000, [], [[]], [None],
    ["x"], {}, {"x": None}, {"": []},
]  # fmt: skip
WHOLE = [b"", b"[]", b"null", b"1", b'"x"', b"{", b"{}", b"\xff\xfe\x00", b'{"a": "\xff"}', b"[" * 20000, b"NaN"]


def folder_of(path: Path) -> Path:
    """A sound experiment, and one whose files are to be damaged."""
    for name in ("sound", "damaged"):
        support = {"RK": [{"scan": "3", "slices": [1, 2, 3]}]}
        results = make_results({"RK": [0.5, None]}, support=support, label_values={"0": 0, "5": 2}, step=100,
                               snapshot="gone/1/snapshots/100.pth", slice_matching=None)  # fmt: skip
        for entry in (*results["scans"], results["class_means"]["RK"], results["mean"]):
            entry["full_volume"] = {"dice": 0.25, "precision": 0.5, "recall": 0.5}
        run = write_run(path, f"{name}_vfold0", 1, results, dataset="CHAOST2")
        (run / "run.json").write_text(json.dumps(STATUS))
        (run / "metrics.json").write_text(json.dumps(CURVE))
    return path


def places(content: object, path: tuple = ()) -> list[tuple]:
    """Every place in nested values, the whole included."""
    inner = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    return [path] + [place for key, value in inner for place in places(value, (*path, key))]


def changed(content: object, place: tuple, value: object) -> object:
    """A copy with another value in a place."""
    if not place:
        return value
    copy = json.loads(json.dumps(content))
    within = copy
    for key in place[:-1]:
        within = within[key]
    if value is KeyError:
        del within[place[-1]]
    else:
        within[place[-1]] = value
    return copy


def check(path: Path, caplog) -> None:
    caplog.clear()
    tested = find_tested_runs([path])
    assert any(run.experiment == "sound_vfold0" for run in tested)
    written = texts(Collected(tested, group_runs(tested), find_trained_runs([path]), list_states([path])), None)
    for text in written.values():
        text.encode()
    for record in caplog.records:
        assert "damaged_vfold0" in record.getMessage()
        assert len(record.getMessage().splitlines()) == 1


@pytest.mark.parametrize("file", ["results.json", "config.json", "run.json", "metrics.json"])
def test_any_value_in_any_place(tmp_path: Path, caplog, monkeypatch, file: str):
    """Some changes leave the file readable; then its run is in the report. Charts, which take long, are left out."""
    monkeypatch.setattr(report, "bar_figure", lambda *arguments: None)
    monkeypatch.setattr(report, "curve_figure", lambda *arguments: None)
    monkeypatch.setattr(report, "as_svg", lambda figure: b"")
    caplog.set_level(logging.WARNING)
    path = folder_of(tmp_path)
    damaged = path / "damaged_vfold0" / "1" / file
    content = json.loads(damaged.read_text())
    random = np.random.default_rng(0)
    everywhere = [(place, value) for place in places(content) for value in VALUES]
    everywhere += [(place, KeyError) for place in places(content) if place]
    chosen = random.permutation(len(everywhere))[: 60 if file == "results.json" else 20]
    for place, value in [(("label_set",), 99), *(everywhere[number] for number in chosen)]:
        damaged.write_text(json.dumps(changed(content, place, value)))
        check(path, caplog)


@pytest.mark.parametrize("file", ["results.json", "config.json", "run.json"])
def test_what_is_no_json_object_is_left_out_with_a_line(tmp_path: Path, caplog, file: str):
    caplog.set_level(logging.WARNING)
    path = folder_of(tmp_path)
    damaged = path / "damaged_vfold0" / "1" / file
    cut = damaged.read_bytes()[:-20]
    for content in (*WHOLE, cut):
        damaged.write_bytes(content)
        if content != b"{}":
            caplog.clear()
            found = list_states([path]) if file == "run.json" else find_tested_runs([path])
            assert [one.experiment for one in found] == ["sound_vfold0"]
            assert [record.getMessage().startswith(f"left out: {damaged} ") for record in caplog.records] == [True]


def test_a_full_or_read_only_place_is_one_line(tmp_path: Path, capsys):
    module = load_tool("collect_results")
    exps = folder_of(tmp_path / "exps")
    (tmp_path / "file").touch()
    for out in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/none")):
        assert module.main([str(exps), "--out", str(out)]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("collect_results.py: ") and str(out) in line
        assert "give another folder" in line or "name a folder" in line


@pytest.mark.parametrize("tool", ["collect_results", "visualize"])
def test_help_and_refusals_import_nothing_slow(tool: str):
    slow = "{'torch', 'SimpleITK', 'scipy', 'matplotlib', 'pandas', 'mmengine', 'skimage', 'cv2'} & {*sys.modules}"
    lines = f"sys.path[:0] = ['tools']; import {tool}"
    for arguments in (["--help"], ["--no-such"], ["absent"]):
        code = f"import sys\n{lines}\ntry: {tool}.main({arguments})\nexcept SystemExit: pass\nassert not {slow}, {slow}"
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
