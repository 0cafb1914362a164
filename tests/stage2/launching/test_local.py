"""Slots and the ends of logs; whole runs are driven in tests/examples/test_driver.py."""

import os
import sys
import time
from pathlib import Path

import pytest

from Stage2.launching import local
from Stage2.launching.local import last_lines, make_slots, run_on_slots
from Stage2.launching.plan import FoldRun
from Stage2.launching.progress import Progress, Status


def test_one_slot_leaves_the_environment_alone():
    (slot,) = make_slots([], 1)
    assert (slot.label, dict(slot.environment)) == ("", {})


def test_every_gpu_gets_its_first_run_before_any_gets_its_second(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(10)))
    slots = make_slots(["0", "2"], 2)
    assert [slot.environment["CUDA_VISIBLE_DEVICES"] for slot in slots] == ["0", "2", "0", "2"]
    assert {slot.environment["OMP_NUM_THREADS"] for slot in slots} == {"2"}, "cores are shared"
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert [dict(slot.environment) for slot in make_slots([], 3)] == [{}] * 3


def test_the_end_of_a_log_shows_progress_bars_as_they_looked_last(tmp_path):
    log = tmp_path / "fold.log"
    log.write_bytes(b"=== 2026-01-01 python\nfirst\n\n10%\r20%\r30%\nerror: \xff bad\r\n")
    assert last_lines(log) == ["first", "30%", "error: \ufffd bad"]
    assert last_lines(log, 1) == ["error: \ufffd bad"]
    log.write_text("x" * 300_000 + "\nlast")
    assert last_lines(log)[-1] == "last"


def full(job, words):
    return Path("/dev/full").open("ab", buffering=0)


@pytest.mark.parametrize("slots", [1, 2])
def test_a_full_disk_under_the_log_is_one_line_and_no_run_waits_for_ever(monkeypatch, tmp_path, caplog, slots):
    talkative = "import time; print(10_000_000 * 'x', flush=True); time.sleep(60)"
    monkeypatch.setattr(local, "_locked_log", full)
    run = FoldRun(0, (), "fold 0", "", Progress(Status.NEW), tmp_path, tmp_path / "fold0.log", 10)
    started = time.monotonic()
    assert run_on_slots([run], lambda job: [sys.executable, "-c", talkative], make_slots([], slots)) == 1
    assert time.monotonic() - started < 30
    (error,) = [record.message for record in caplog.records if record.levelname == "ERROR"]
    assert error.startswith(f"fold 0 was stopped, for its log {run.log} could not be written (No space left on device)")


def test_a_log_that_cannot_be_begun_is_one_sentence(tmp_path):
    (tmp_path / "fold0.log").symlink_to("/dev/full")
    run = FoldRun(0, (), "fold 0", "", Progress(Status.NEW), tmp_path, tmp_path / "fold0.log", 10)
    with pytest.raises(OSError, match=r"fold0\.log could not be written \(No space left on device\); make room"):
        run_on_slots([run], lambda job: [sys.executable, "-c", ""], make_slots([], 1))
