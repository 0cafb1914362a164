"""The driver as a process over stub entry points: stopped, killed, submitted, and refused bad input."""

import json
import os
import signal
from pathlib import Path

import pytest
from examples.driving import bash, make_repository, wait_for


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return make_repository(tmp_path / "a repository")


def test_a_signal_reaches_the_run_which_keeps_its_state(repository: Path):
    (repository / "wishes.json").write_text(json.dumps({"seconds": {"0": 30}}))
    driver = bash(repository, "train", ALL_EV="0 1")
    wait_for((repository / "calls.log").exists)
    driver.send_signal(signal.SIGTERM)
    out, err = driver.communicate(timeout=20)
    assert driver.returncode == 143, err
    assert "the same command goes on from here" in out
    assert (repository / "calls.log").read_text().splitlines()[1:] == ["stopped 0"]
    assert (
        repository / "exps" / "mySSL_train_vfold0_CHAOST2_Superpix_sets_0_1shot" / "1" / "training_state.pth"
    ).is_file()


def test_ctrl_c_may_end_the_tee_behind_the_driver_first(repository: Path):
    (repository / "wishes.json").write_text(json.dumps({"seconds": {"0": 30}}))
    driver = bash(repository, "train", ALL_EV="0 1")
    wait_for((repository / "calls.log").exists)
    driver.stdout.close()
    driver.send_signal(signal.SIGINT)
    err = driver.stderr.read()
    assert (driver.wait(timeout=20), err) == (130, "")
    assert (repository / "calls.log").read_text().splitlines()[1:] == ["stopped 0"]


def test_a_killed_driver_takes_its_run_along_which_keeps_its_state(repository: Path):
    (repository / "wishes.json").write_text(json.dumps({"seconds": {"0": 30}}))
    driver, calls = bash(repository, "train", ALL_EV="0"), repository / "calls.log"
    wait_for(calls.exists)
    driver.kill()
    driver.communicate(timeout=20)
    assert wait_for(lambda: "stopped 0" in calls.read_text())
    (repository / "wishes.json").unlink()
    second = bash(repository, "train", ALL_EV="0")
    out, err = second.communicate(timeout=20)
    assert second.returncode == 0, err
    assert "1 of them to resume" in out and calls.read_text().splitlines()[2] == "begin 0 gpu=None resume=True"


FAKE_SBATCH = """#!/usr/bin/env bash
set -e
printf '%s\\n' "$@" >"$SPOOL/arguments"
[ -z "${REFUSE:-}" ] || { echo "sbatch: error: invalid partition" >&2; exit 1; }
script=${*: -1}
for argument in "$@"; do
    case "$argument" in --array=*) tasks=${argument#--array=} ;; esac
done
for task in $(tr , ' ' <<<"${tasks%\\%*}"); do
    SLURM_ARRAY_TASK_ID=$task bash "$script" >"$SPOOL/task_$task" 2>&1
done
echo "4711;cluster"
"""


def test_a_slurm_array_has_a_task_for_every_fold(repository: Path, tmp_path: Path):
    (tmp_path / "bin").mkdir()
    sbatch = tmp_path / "bin" / "sbatch"
    sbatch.write_text(FAKE_SBATCH)
    sbatch.chmod(0o755)
    slurm = {
        "PATH": f"{sbatch.parent}:{os.environ['PATH']}", "SPOOL": str(tmp_path), "LAUNCHER": "slurm", "ALL_EV": "1 3",
        "SBATCH_ARGS": "--partition=gpu --comment='two words'", "AT_A_TIME": "2",
    }  # fmt: skip
    driver = bash(repository, "train", "print_interval=7", DRY_RUN="1", **slurm)
    out, _ = driver.communicate(timeout=60)
    assert "sbatch --parsable --array=1,3%2" in out and not (tmp_path / "arguments").exists()
    driver = bash(repository, "train", "print_interval=7", **slurm)
    out, err = driver.communicate(timeout=60)
    assert driver.returncode == 0, err
    assert "job 4711 submitted: fold(s) 1 3" in out
    arguments = (tmp_path / "arguments").read_text().splitlines()
    assert {
        "--array=1,3%2",
        "--gres=gpu:1",
        "--cpus-per-task=5",
        "--requeue",
        "--partition=gpu",
        "--comment=two words",
    } <= set(arguments)
    assert [call for call in (repository / "calls.log").read_text().splitlines() if call.startswith("end")] == [
        "end 1",
        "end 3",
    ]
    assert "print_interval=7" in (repository / "exps" / "logs" / "train_CHAOST2_Superpix_sets_0_fold3.log").read_text()

    driver = bash(repository, "train", REFUSE="1", **(slurm | {"ALL_EV": "0"}))
    out, err = driver.communicate(timeout=60)
    assert driver.returncode == 1 and err.count("\n") == 1
    assert "sbatch refused the job (status 1): sbatch: error: invalid partition" in err


@pytest.mark.parametrize(
    ("arguments", "environment", "sentence"),
    [
        ([], {}, "expected a mode"),
        (["fly"], {}, "mode 'fly' is unknown"),
        (["train"], {"DATASET": ""}, "DATASET is not set"),
        (["train"], {"LOGDIR": ""}, "LOGDIR is not set"),
        (["train", "word"], {}, "not of the form key=value"),
        (["test"], {"SNAPSHOTS": "some"}, "SNAPSHOTS=some is not possible"),
        (["test"], {}, "fold 0: "),
        (["train"], {"ALL_EV": "0 5"}, "ALL_EV='0 5' names 5; choose from 0 to 4"),
        (["train"], {"ALL_EV": " "}, "ALL_EV=' ' names no fold"),
        (["train"], {"DATASET": "ACDC"}, "dataset=ACDC is unknown"),
        (["test"], {"SELECT": "best"}, "argument --select: invalid choice: 'best'"),
        (["train"], {"JOBS_PER_GPU": "0"}, "found 0, expected a whole number from 1 up"),
        (["train"], {"LAUNCHER": "slurm", "PATH": "/usr/bin:/bin"}, "there is no sbatch on this machine"),
    ],
)
def test_bad_input_is_one_sentence(repository: Path, arguments: list[str], environment: dict, sentence: str):
    driver = bash(repository, *arguments, **environment)
    _, err = driver.communicate(timeout=60)
    assert driver.returncode in (1, 2)
    assert sentence in err
    assert len(err.strip().splitlines()) == 1, err
    assert not (repository / "calls.log").exists()
