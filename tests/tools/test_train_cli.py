"""The Stage 1 command line: help, defaults, and one line without traceback for every mistake."""

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tool_modules import load_tool

from Stage1.models.backbone import ResNetC5

ROOT = Path(__file__).resolve().parents[2]
DEMO = "configs/selfsup/densecl/densecl_demo.py"


@pytest.fixture(scope="module")
def train():
    """The module tools/train.py."""
    return load_tool("train")


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    for number in range(4):
        Image.fromarray(np.full((32, 32), 40 * number, np.uint8)).save(folder / f"{number}.png")
    return folder


def shell(script, *arguments, cwd=ROOT):
    command = ["bash", script, *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=os.environ, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize(
    ("script", "arguments"),
    [
        ("tools/single_train.sh", "CONFIG [options]"),
        ("tools/dist_train.sh", "CONFIG GPUS [options]"),
        ("tools/srun_train.sh", "PARTITION JOB_NAME CONFIG [GPUS] [options]"),
    ],
)
def test_scripts_explain_themselves(script, arguments):
    done = shell(script, "--help", cwd=ROOT / "Stage1")
    assert done.returncode == 0
    assert done.stdout.startswith(f"Usage: bash {script} {arguments}\n")
    for option in ("--work_dir", "--auto-resume", "--resume_from", "--pretrained", "--auto-scale-lr", "--cfg-options"):
        assert option in done.stdout
    bare = shell(script)
    assert bare.returncode == 2
    assert bare.stderr.startswith("Usage:")


@pytest.mark.parametrize("gpus", ["0", "two", "-1", "--pretrained"])
def test_dist_train_wants_a_number_of_processes(gpus):
    done = shell("tools/dist_train.sh", DEMO, gpus)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert f"found GPUS '{gpus}'" in line


def test_a_script_passes_the_one_line_on(tmp_path):
    done = shell(ROOT / "tools/dist_train.sh", DEMO, 1, "--cfg-options", f"data_root={tmp_path}/absent", cwd=tmp_path)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("train.py: error: found no folder ")
    assert list(tmp_path.iterdir()) == []


def test_mistakes_are_one_line(train, images, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save(ResNetC5(50).state_dict(), tmp_path / "resnet50.pth")
    torch.save({"state_dict": {"head.weight": torch.zeros(1)}}, tmp_path / "head.pth")
    data = [f"data_root={images}", "batch_size=4", "queue_length=16"]
    mistakes = {
        "found no config file": ["configs/absent.py"],
        "did you mean 'depth'": [DEMO, "--cfg-options", *data, "dept=50"],
        "expected one of [18, 50, 101]": [DEMO, "--cfg-options", *data, "depth=34"],
        "queue of 15 keys": [DEMO, "--cfg-options", *data, "queue_length=15"],
        "expected at least one batch of 8": [DEMO, "--cfg-options", *data, "batch_size=8"],
        "do not fit the model": [DEMO, "--pretrained", "resnet50.pth", "--cfg-options", *data],
        "found no backbone of this kind in head.pth": [DEMO, "--pretrained", "head.pth", "--cfg-options", *data],
        "found no file absent.pth": [DEMO, "--pretrained", "absent.pth", "--cfg-options", *data],
        "looks like a ResNet-50 and the model is a ResNet-18": [
            DEMO,
            "--pretrained",
            "resnet50.pth",
            "--cfg-options",
            *data,
        ],
        "found no optimizer": [DEMO, "--resume_from", "head.pth", "--cfg-options", *data],
        "found no RANK": [DEMO, "--launcher", "pytorch", "--cfg-options", *data],
    }
    for complaint, arguments in mistakes.items():
        assert train.main(arguments) == 1
        errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("train.py: error: ")]
        assert len(errors) == 1, complaint
        assert complaint in errors[0]


def test_spellings_and_defaults(train):
    args = train.parse_args([DEMO, "--work-dir", "w", "--resume-from", "c", "--cfg_options", "depth=50", "lr=0.1"])
    assert (args.work_dir, args.resume_from, args.cfg_options) == ("w", "c", ["depth=50", "lr=0.1"])
    args = train.parse_args([DEMO, "--work_dir", "w", "--resume_from", "c"])
    assert (args.work_dir, args.resume_from, args.launcher, args.seed) == ("w", "c", "none", None)
    assert (args.auto_resume, args.auto_scale_lr) == (False, False)
    for spelling in ("--auto-resume", "--auto_resume"):
        assert train.parse_args([DEMO, spelling, "--auto_scale_lr"]).auto_resume


def test_two_ways_of_resuming_are_one_too_many(train, capsys):
    with pytest.raises(SystemExit) as end:
        train.parse_args([DEMO, "--auto-resume", "--resume_from", "c"])
    assert end.value.code == 2
    assert "argument --resume_from/--resume-from: not allowed with argument --auto-resume" in capsys.readouterr().err
