"""A run as a process: what ends this one asks it to stop, once, and waits until it has kept its state."""

import os
import signal
import threading

import pytest

from Stage1.commands import interrupted_by_signals, run_process

STOPPING = "trap 'sleep 1; echo kept >kept; exit 0' TERM; echo begun >begun; while :; do sleep 0.05; done"


def test_a_command_with_bytes_that_are_no_text_is_run_and_logged(tmp_path):
    log = tmp_path / os.fsdecode(b"caf\xe9") / "run.log"
    assert run_process(["echo", os.fsdecode(b"to=caf\xe9")], log, "run", {}) == 0
    header, printed = log.read_bytes().splitlines()
    assert header.endswith(b"echo 'to=caf\xe9'") and printed == b"to=caf\xe9"


def test_to_be_asked_twice_cuts_nothing_short(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = signal.getsignal(signal.SIGTERM)

    def ask() -> None:
        while not (tmp_path / "begun").exists():
            wait.wait(0.05)
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGTERM)
            wait.wait(0.3)

    wait, asking = threading.Event(), threading.Thread(target=ask)
    asking.start()
    with pytest.raises(KeyboardInterrupt), interrupted_by_signals():
        try:
            run_process(["bash", "-c", STOPPING], tmp_path / "run.log", "run", {})
        finally:
            asking.join()
    assert (tmp_path / "kept").exists()
    assert signal.getsignal(signal.SIGTERM) == before
