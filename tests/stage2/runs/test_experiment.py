"""The experiments around the method: devices, default folders, console capture."""

import importlib
import json
import logging
import sys
from io import StringIO

import pytest

from Stage2.runs.experiment import Stage2Experiment, configure_logging
from Stage2.runs.settings import DEFAULTS


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


@pytest.mark.parametrize("name", ["training", "finetuning", "validation"])
@pytest.mark.parametrize("command", ["main", "print_config", "save_config"])
def test_settings_never_run_code(name, command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    code = {"py/reduce": [{"py/type": "os.mkdir"}, {"py/tuple": ["ran"]}]}
    (tmp_path / "someones.json").write_text(json.dumps({"seed": code}))
    (tmp_path / "someones.pickle").write_bytes(b"cos\nmkdir\n(S'ran'\ntR.")
    experiment = importlib.import_module(f"Stage2.{name}").experiment
    for word in (f"exp_prefix={code}", f"support_idx=[{code}]", "someones.json", "someones.pickle", f"optim={code}"):
        with pytest.raises(SystemExit) as end:
            experiment.run_commandline([name, command, "with", word])
        assert end.value.code == 1
        assert capsys.readouterr().err.splitlines()[-1].startswith("error: ")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["someones.json", "someones.pickle"]


def test_the_config_of_a_run_sets_an_experiment(tmp_path, capsys):
    (tmp_path / "config.json").write_text(json.dumps({**DEFAULTS, "n_steps": 77, "selection": "test: the best"}))
    words = ["x", "print_config", "with", str(tmp_path / "config.json"), "exp_prefix=2024_01", "seed=5", "-l", "ERROR"]
    experiment = Stage2Experiment("config")
    experiment.main(lambda: None)
    run = experiment.run_commandline(words)
    assert (run.config["n_steps"], run.config["seed"], run.config["exp_prefix"]) == (77, 5, "2024_01")
    assert run.config["selection"] == {"rule": "test", "reason": "the best"}
