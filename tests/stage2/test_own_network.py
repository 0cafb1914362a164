"""A head and an encoder of one's own, one file and one line each: trained, killed, resumed, tested, predicted with."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from tool_modules import load_tool

from Stage1.weights.checkpoints import read_checkpoint
from Stage2 import training, validation
from Stage2.models.registry import ENCODERS, HEADS
from Stage2.models.snapshots import SnapshotKind, describe_snapshot
from Stage2.predict import segment
from Stage2.run_folders.layout import RESULTS, list_runs, list_snapshots, snapshot_path

ROOT = Path(__file__).resolve().parents[2]
OWN = '''
import torch
from torch import nn
from Stage2.models.heads import GlobalPrototypeHead


class ScaledHead(GlobalPrototypeHead):
    """Similarities times a learned number."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1.5))

    def scores(self, query_features, prototypes):
        return self.scale * super().scores(query_features, prototypes)


class TinyBackbone(nn.Sequential):
    """One convolution: (B, 3, H, W) -> (B, 4, H/16, W/16)."""

    stride, out_channels = 16, 4

    def __init__(self):
        super().__init__(nn.Conv2d(3, 4, 16, stride=16), nn.BatchNorm2d(4))
'''
LINES = {"clsname": (HEADS, "own_network:ScaledHead"), "modelname": (ENCODERS, "own_network:TinyBackbone")}
REGISTERED = """
from Stage2.models.registry import ENCODERS, HEADS
HEADS["own"], ENCODERS["own"] = "own_network:ScaledHead", "own_network:TinyBackbone"
"""
# The state of step 2 is half written when the process dies.
KILLED_WHILE_WRITING = """
import os, signal, torch
from Stage2.training import experiment
whole = torch.save
def half(content, file):
    whole(content, file)
    if "optimiser" in content and content["state"]["step"] == 2:
        os.kill(os.getpid(), signal.SIGKILL)
torch.save = half
experiment.run_commandline()
"""
N_STEPS = 4


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """Folder of the file with both classes, which are registered as "own"."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "own_network.py").write_text(OWN)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        for registry, place in LINES.values():
            patch.setitem(registry, "own", place)
        yield folder


@pytest.fixture(scope="module")
def settings(cohort_folder, tmp_path_factory):
    return {
        "modelname": "own", "clsname": "own", "num_workers": 0, "device": "cpu", "print_interval": 1,
        "n_steps": N_STEPS, "save_snapshot_every": 1, "optim": {"lr": 0.01},
        "path": {"data_dir": str(cohort_folder), "log_dir": str(tmp_path_factory.mktemp("exps"))},
    }  # fmt: skip


def run(settings, prefix, experiment=training.experiment, **changes):
    experiment.run(config_updates={**settings, "exp_prefix": prefix, **changes})
    return list_runs(Path(settings["path"]["log_dir"]) / f"mySSL_{prefix}_CHAOST2_Superpix_sets_0_1shot")[-1]


@pytest.fixture(scope="module")
def whole(own, settings):
    return run(settings, "whole")


def test_the_heads_parameter_is_trained_and_the_snapshot_says_what_it_is_of(whole):
    scales = [read_checkpoint(path)["head.scale"].item() for _, path in list_snapshots(whole)]
    assert len(set(scales)) == N_STEPS
    assert describe_snapshot(read_checkpoint(snapshot_path(whole, N_STEPS))) == SnapshotKind("own", "own")


def test_killed_and_resumed_it_ends_as_uninterrupted(own, settings, whole):
    given = {key: value for key, value in settings.items() if key not in ("path", "optim")}
    given |= {f"path.{key}": value for key, value in settings["path"].items()} | {"optim.lr": 0.01, "exp_prefix": "cut"}
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(torch.get_num_threads()))
    done = subprocess.run(
        [sys.executable, "-c", REGISTERED + KILLED_WHILE_WRITING, "with", *(f"{k}={v}" for k, v in given.items())],
        env={**os.environ, **threads, "PYTHONPATH": f"{ROOT}{os.pathsep}{own}"}, cwd=ROOT, capture_output=True,
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL, done.stderr
    resumed = run(settings, "cut", resume=True)
    ends = [read_checkpoint(snapshot_path(folder, N_STEPS)) for folder in (whole, resumed)]
    assert list(ends[0]) == list(ends[1])
    assert all(torch.equal(value, ends[1][key]) for key, value in ends[0].items())


def test_it_is_tested(settings, whole):
    folder = run(settings, "test", validation.experiment, reload_model_path=str(whole))
    results = json.loads((folder / RESULTS).read_text())
    assert results["step"] == N_STEPS
    assert 0 <= results["mean"]["dice"] <= 1


def test_it_is_predicted_with_and_recognised_by_what_the_snapshot_says(whole, cohort_folder, tmp_path):
    snapshot = tmp_path / "alone.pth"  # no config.json beside it
    snapshot.write_bytes(snapshot_path(whole, N_STEPS).read_bytes())
    scan, mask, query = (
        sitk.ReadImage(str(cohort_folder / name)) for name in ("image_1.nii.gz", "label_1.nii.gz", "image_2.nii.gz")
    )
    found = segment(query, [(scan, mask)], [1], snapshot)
    assert found.labels.shape == sitk.GetArrayFromImage(query).shape
    assert np.isin(found.labels, (0, 1)).all()


def test_without_a_graph_it_is_not_exported(whole, tmp_path, capsys):
    tool = load_tool("export_model")
    assert tool.main([str(whole), str(tmp_path / "exported")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "clsname=own has no graph for ONNX and cannot be exported" in line
    assert not (tmp_path / "exported").exists()
