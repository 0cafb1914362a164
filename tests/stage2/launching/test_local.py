"""Slots and the ends of logs; whole runs are driven in tests/examples/test_driver.py."""

import os

from Stage2.launching.local import last_lines, make_slots


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
