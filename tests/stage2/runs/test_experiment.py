"""The experiments around the method: devices, default folders, console capture."""

import logging
import sys
from io import StringIO

import pytest
import torch

from Stage2.datasets.catalog import get_dataset
from Stage2.runs.experiment import ROOT, Stage2Experiment, choose_device, configure_logging, data_folder


def test_devices():
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(ValueError, match="device=abacus is unknown"):
        choose_device("abacus")


@pytest.mark.skipif(torch.cuda.is_available(), reason="the sentence is for machines without CUDA")
def test_cuda_without_a_device_is_refused():
    with pytest.raises(ValueError, match="device=cuda: this machine has no CUDA device"):
        choose_device("cuda")


def test_data_folder_defaults_to_the_data_sets_own():
    data_set = get_dataset("SABS")
    assert data_folder(None, data_set) == ROOT / "data" / "SABS" / "sabs_CT_normalized"
    assert str(data_folder("/scans", data_set)) == "/scans"


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
