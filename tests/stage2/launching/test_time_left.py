"""The time that is left, against plain arithmetic and a slow simulation."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

import Stage2.launching.time_left as module
from Stage2.launching.plan import FoldRun
from Stage2.launching.progress import Progress, Status
from Stage2.launching.time_left import Pace, describe, time_left, units_of


def make_job(folder: Path = Path("absent"), steps: int = 0, done: int = 0) -> FoldRun:
    progress = Progress(Status.INTERRUPTED if done else Status.NEW, step=done)
    return FoldRun(0, (), "fold 0", "", progress, folder, Path("log"), steps)


def simulate(jobs: list[int], n_slots: int, per_unit: float) -> float:
    """Each job goes to the slot that is free first, tick by tick."""
    free_at = [0.0] * n_slots
    for units in jobs:
        slot = min(range(n_slots), key=lambda index: free_at[index])
        free_at[slot] += units * per_unit
    return max(free_at)


@pytest.mark.parametrize("n_slots", [1, 2, 3, 7])
@pytest.mark.parametrize("jobs", [[], [100], [100, 100, 100, 100, 100], [30, 500, 20, 70]])
def test_waiting_jobs_take_the_slots_as_these_become_free(jobs, n_slots):
    pace = Pace(seconds=50.0, units=100)
    waiting = [make_job(steps=units) for units in jobs]
    assert time_left(waiting, [], pace, n_slots) == pytest.approx(simulate(jobs, n_slots, 0.5))


def test_nothing_is_said_before_anything_is_known():
    assert time_left([make_job(steps=10)], [], Pace(), 1) is None
    assert describe(None) == "time left not known yet"


def test_a_resumed_training_has_its_rest_before_it_and_a_test_is_one():
    assert units_of(make_job(steps=100, done=60)) == 40
    assert units_of(make_job()) == 1


def test_the_steps_of_a_run_in_progress_tell_its_pace(tmp_path, monkeypatch):
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(module.time, "monotonic", lambda: clock.now)
    earlier = tmp_path / "1"
    report(earlier, 900)
    job, pace = make_job(tmp_path, steps=200), Pace()
    pace.begin(job)
    clock.now = 1030
    assert pace.note(job) == 0, "the run before it does not count"
    report(tmp_path / "2", 20)
    clock.now = 1060
    assert pace.note(job) == 20 and pace.per_unit() is None
    report(tmp_path / "2", 50)
    clock.now = 1120
    assert pace.note(job) == 50
    assert pace.per_unit() == pytest.approx(2.0)
    clock.now = 1130
    assert time_left([make_job(steps=100)], [SimpleNamespace(job=job)], pace, 1) == pytest.approx(150 * 2 - 10 + 200)
    pace.end(job, 400.0)
    assert pace.per_unit() == pytest.approx(400 / 200)


def report(run: Path, step: int) -> None:
    run.mkdir(exist_ok=True)
    (run / "metrics.json").write_text(json.dumps({"total_loss": {"steps": [step], "values": [0.5]}}))


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "0 s"),
        (59.6, "1 min 0 s"),
        (61, "1 min 1 s"),
        (3600, "1 h 0 min"),
        (7325, "2 h 2 min"),
        (90000, "1 d 1 h"),
    ],
)
def test_durations_in_words(seconds, words):
    assert describe(seconds) == f"about {words} left"
    assert describe(seconds, "") == words
