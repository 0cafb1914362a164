"""Runs that end before their time: killed, asked to stop, out of disk; resumed, they end as an uninterrupted one."""

import errno
import json
import os
import re
import shutil
import signal
import time
from pathlib import Path

import pytest
import torch
from stage2.runs.starting import largest_file, start

from Stage1.weights import checkpoints
from Stage1.weights.checkpoints import write_checkpoint
from Stage2 import training
from Stage2.optimisation.training import Training
from Stage2.run_folders.layout import STATE_FILE, list_runs, list_snapshots, read_scalars, snapshot_path
from Stage2.runs import interruption
from Stage2.runs.event_log import read_events
from Stage2.runs.interruption import RunInterrupted, deferred, interruptible

N_STEPS = 3
# The state of step 2 is half written when the process dies.
KILLED_WHILE_WRITING = """
import os, signal, sys, torch
from Stage2.training import experiment
whole = torch.save
def half(content, file):
    whole(content, file)
    if "optimiser" in content and content["state"]["step"] == 2:
        file.flush()
        os.truncate(file.name, os.path.getsize(file.name) // 2)
        os.kill(os.getpid(), signal.SIGKILL)
torch.save = half
experiment.run_commandline()
"""


@pytest.fixture(scope="module")
def settings(settings):
    return {**settings, "print_interval": 2, "n_steps": N_STEPS, "save_snapshot_every": 1}


def runs(settings, prefix):
    return list_runs(Path(settings["path"]["log_dir"]) / f"mySSL_{prefix}_CHAOST2_Superpix_sets_0_1shot")


def run(settings, prefix, **changes):
    training.experiment.run(config_updates={**settings, "exp_prefix": prefix, **changes})
    return runs(settings, prefix)[-1]


def status(folder):
    return json.loads((folder / "run.json").read_text())["status"]


@pytest.fixture(scope="module")
def whole(settings):
    return run(settings, "whole")


def events(folder):
    """(tag, step, value, PNG) of everything that TensorBoard shows, in order of step."""
    values = [(value, event.step) for event in read_events(folder) for value in event.summary.value]
    return sorted((value.tag, step, value.simple_value, value.image.encoded_image_string) for value, step in values)


def assert_same_end(whole, resumed):
    ends = [torch.load(snapshot_path(folder, N_STEPS), weights_only=True) for folder in (whole, resumed)]
    for key, tensor in ends[0].items():
        assert torch.equal(tensor, ends[1][key]), key
    assert read_scalars(whole) == read_scalars(resumed)
    assert events(whole) == events(resumed)
    assert [step for step, _ in list_snapshots(whole)] == [step for step, _ in list_snapshots(resumed)]
    assert status(resumed) == "COMPLETED"


def test_a_run_killed_while_it_writes_a_snapshot_goes_on_to_the_same_end(settings, whole):
    process = start(settings, "killed", KILLED_WHILE_WRITING)
    process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL
    (killed,) = runs(settings, "killed")
    assert torch.load(killed / STATE_FILE, weights_only=True)["state"]["step"] == 1  # the last good one
    assert json.loads((killed / "config.json").read_text())["n_steps"] == N_STEPS
    assert_same_end(whole, run(settings, "killed", resume=True))
    assert not list(killed.glob("**/.*"))  # neither half-written files nor a lock


def test_another_number_of_threads_is_warned_about(settings, whole, caplog):
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    try:
        run(settings, "whole", resume=True)
    finally:
        torch.set_num_threads(threads)
    assert f"was written with {threads} threads, here are {threads + 1} " in caplog.text


def test_sigterm_to_the_whole_group_keeps_the_step_at_hand(settings, whole):
    many = 10_000
    script = "import runpy; runpy.run_path('Stage2/training.py', run_name='__main__')"
    process = start(settings, "stopped", script, n_steps=many, save_snapshot_every=many, num_workers=1)
    said, deadline = "", time.monotonic() + 90
    while not re.search(rf" [1-9]\d*/{many}", said) and time.monotonic() < deadline:
        said += process.stderr.read(20)
    os.killpg(process.pid, signal.SIGTERM)  # as Slurm sends it: loader workers get it too
    last = process.communicate(timeout=60)[1].splitlines()[-1]
    (stopped,) = runs(settings, "stopped")
    step = torch.load(stopped / STATE_FILE, weights_only=True)["state"]["step"]
    assert process.returncode == 143
    assert last == f"interrupted: SIGTERM: kept step {step} of 10000 in {stopped}; go on with resume=True"
    assert (status(stopped), list_snapshots(stopped)) == ("INTERRUPTED", [])


def test_a_run_asked_to_stop_goes_on_to_the_same_end(settings, whole, monkeypatch, capfd):
    step = Training.take_step

    def signalled(self, *args, **kwargs):
        if self.state.step == 0:
            os.kill(os.getpid(), signal.SIGINT)
        return step(self, *args, **kwargs)

    with monkeypatch.context() as patch, pytest.raises(SystemExit) as end:
        patch.setattr(Training, "take_step", signalled)
        run(settings, "asked", save_snapshot_every=2)
    assert end.value.code == 130
    (asked,) = runs(settings, "asked")
    assert (status(asked), list_snapshots(asked)) == ("INTERRUPTED", [])  # no snapshot of an unplanned step
    assert "kept step 1 of 3" in capfd.readouterr().err.splitlines()[-1]
    shorter = run(settings, "asked", save_snapshot_every=2, n_steps=1, resume=True)
    assert [step for step, _ in list_snapshots(shorter)] == [1]
    assert read_scalars(shorter)["total_loss"][0] == [1]
    shutil.rmtree(shorter)
    resumed = run(settings, "asked", save_snapshot_every=2, resume=True)
    assert [step for step, _ in list_snapshots(resumed)] == [2, 3]
    assert read_scalars(resumed) == read_scalars(whole)  # also the mean over steps before and after the stop
    for step in (2, 3):
        ends = [torch.load(snapshot_path(folder, step), weights_only=True) for folder in (whole, resumed)]
        assert all(torch.equal(tensor, ends[1][key]) for key, tensor in ends[0].items())


def test_a_run_does_not_go_back_to_an_earlier_step(settings, whole, capfd):
    with pytest.raises(SystemExit):
        run(settings, "whole", n_steps=2, resume=True)
    error = capfd.readouterr().err.splitlines()[-1]
    assert error.endswith(" has 3 steps already; give n_steps=3 or more, or train anew.")
    assert list_snapshots(runs(settings, "whole")[-1]) == []


def test_a_full_disk_is_one_sentence_and_the_last_good_state_stays(settings, whole, monkeypatch, capfd):
    save = torch.save

    def full(content, file):
        if "optimiser" in content and content["state"]["step"] == 2:
            file.write(b"half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        save(content, file)

    with monkeypatch.context() as patch, pytest.raises(SystemExit) as end:
        patch.setattr(checkpoints.torch, "save", full)
        run(settings, "full")
    assert end.value.code == 1
    (failed,) = runs(settings, "full")
    line = capfd.readouterr().err.splitlines()[-1]
    assert line.startswith(f"error: {failed / STATE_FILE} could not be written (No space left on device); ")
    assert status(failed) == "FAILED"
    assert torch.load(failed / STATE_FILE, weights_only=True)["state"]["step"] == 1
    assert not list(failed.glob("**/.*"))
    assert_same_end(whole, run(settings, "full", resume=True))


def test_a_write_that_really_fails_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "state.pth"
    write_checkpoint({"step": 1}, path)
    with largest_file(2**14), pytest.raises(OSError) as end:
        write_checkpoint({"weights": torch.zeros(2**16)}, path)
    assert str(end.value).startswith(f"{path} could not be written (File too large); ")
    assert torch.load(path) == {"step": 1}
    assert [entry.name for entry in tmp_path.iterdir()] == ["state.pth"]


def test_metrics_survive_a_write_that_fails(settings, monkeypatch, caplog):
    replace, failures = Path.replace, []

    def fail_once(self, target):
        if Path(target).name == "metrics.json" and not failures:
            failures.append(target)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", fail_once)
    from datetime import datetime

    from Stage2.runs.observer import RunFolderObserver

    observer = RunFolderObserver(settings["path"]["log_dir"])
    observer.dir, observer._scalars, observer._started = settings["path"]["log_dir"], {}, True
    for step in (1, 2):
        observer.log_metrics({"loss": {"values": [0.5], "steps": [step], "timestamps": [datetime.now()]}}, {})
    assert "What was there before is whole" in caplog.text
    assert read_scalars(observer.dir) == {"loss": ([1, 2], [0.5, 0.5])}


def test_signals_are_as_before_afterwards():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(RunInterrupted, match="SIGTERM"), interruptible():
        with deferred() as received:
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGTERM)  # told twice, by Slurm and by its launcher
            assert received() == signal.SIGTERM
        os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(RunInterrupted, match="SIGINT"), deferred():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)  # someone insists
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_step_that_does_not_end_is_left_after_some_seconds(monkeypatch):
    monkeypatch.setattr(interruption, "LONGEST_STEP", 0.2)
    started = time.monotonic()
    with pytest.raises(RunInterrupted, match="SIGTERM: nothing was kept, for the step took over"), deferred():
        os.kill(os.getpid(), signal.SIGTERM)
        while time.monotonic() < started + 30:
            pass
    assert time.monotonic() < started + 10
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
