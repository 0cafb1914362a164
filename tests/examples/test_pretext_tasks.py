"""The comparison of pretext tasks: which commands it gives, and what it refuses before any of them."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ENCODERS = {"densecl": "dlfcn_res18", "simclr": "dlfcn_res18", "simmim": "dlfcn_swin_tiny_mmcv",
            "mae": "dlfcn_vit_tiny_mmcv", "random": "dlfcn_res18"}  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """A folder with images and one with a scan, both by their names alone."""
    folder = tmp_path_factory.mktemp("data")
    for name in ("images/0.jpg", "scans/image_1.nii.gz", "images/empty/notes.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def run(data: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
    script = ROOT / "examples" / "ablations" / "pretext_tasks.sh"
    given = ["--radiographs", data / "images", "--data", data / "scans", "--out", data / "out", *arguments]
    kept = {key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ}
    return subprocess.run(["bash", script, *given], env=kept | environment, capture_output=True, text=True, timeout=120)


def test_every_task_takes_the_whole_road(data: Path):
    others = {"EXPERIMENTS": "mri_ct_s1_l0 mri_ct_s2_l0", "SEEDS": "1 2", "PROTOCOL": "adnet", "RESTART": "yes"}
    done = run(data, "--dry-run", "--tasks", "densecl:2 simclr simmim mae random", "--folds", "0 3", **others)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    for task, encoder in ENCODERS.items():
        folder = data / "out" / task
        tuned = [line for line in lines if f"path.log_dir={folder} " in line and f"modelname={encoder} " in line]
        assert len([line for line in tuned if "finetuning.py" in line]) == 2, "a run for each fold"
        assert all(f"reload_model_path={folder}/backbone.pth" in line for line in tuned if "finetuning.py" in line)
        assert len([line for line in tuned if "validation.py" in line]) == 2
        trained = [line for line in lines if f"--work_dir {folder}/stage1" in line]
        assert len(trained) == (task != "random")
        assert all(f"selfsup/{task}/{task}_demo.py" in line for line in trained)
        assert [("max_epochs=2" in line) for line in trained] == [task == "densecl"] * len(trained)
    probes = [line for line in lines if "evaluate_features.py" in line]
    assert [f"--fold {fold}" in line for fold, line in zip((0, 3), probes, strict=True)] == [True, True]
    assert not (data / "out").exists() and "protocol=" not in done.stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--tasks", "simclr jigsaw"], "--tasks jigsaw is not possible; choose one of"),
        (["--tasks", "random:3"], "random has no epochs"),
        (["--tasks", "mae:0"], "give a whole number, 1 or more"),
        (["--folds", "x"], "--folds x is not possible"),
        (["--recipes", "mine"], "--recipes mine is not possible"),
        (["--data", "absent"], "--data absent does not exist"),
        (["--more"], "option '--more' is unknown"),
        (["--dataset", "absent.yaml"], "--dataset absent.yaml does not exist"),
    ],
)
def test_bad_input_is_one_sentence_before_anything_runs(data: Path, arguments: list[str], sentence: str):
    done = run(data, *arguments)
    assert done.returncode == 2 and done.stdout == ""
    assert sentence in done.stderr and len(done.stderr.splitlines()) == 1
    assert not (data / "out").exists()
