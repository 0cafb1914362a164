"""The experiments around the method: devices, default folders, console capture."""

import logging
import sys
from io import StringIO

from Stage2.runs.experiment import Stage2Experiment, configure_logging


def test_log_lines_go_to_the_stderr_of_the_moment(monkeypatch):
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    configure_logging()
    captured = StringIO()
    monkeypatch.setattr(sys, "stderr", captured)
    logging.getLogger("Stage2.anything").info("a line")
    root.handlers[:], root.level = handlers, level
    logging.captureWarnings(False)
    assert captured.getvalue().endswith("a line\n")


def test_overrides_change_defaults_of_one_experiment_only():
    changed, plain = Stage2Experiment("changed", {"n_steps": 7}), Stage2Experiment("plain")
    found = {}
    for experiment in (changed, plain):
        experiment.main(lambda: None)
        found[experiment.path] = experiment._create_run(
            experiment.default_command, {"path": {"log_dir": "unused"}}
        ).config["n_steps"]
    assert found == {"changed": 7, "plain": 100_100}
