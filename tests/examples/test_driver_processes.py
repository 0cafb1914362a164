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


def test_all_modes_of_several_seeds_are_one_graph(repository: Path):
    asked = {"SEEDS": "1 2", "ALL_EV": "0", "SELECT": "test", "FT_NSTEP": "5", "TESTED_STEPS": "5"}
    driver = bash(repository, "all", "print_interval=7", FT_SNAPSHOT_INTERVAL="5", **asked)
    out, err = driver.communicate(timeout=60)
    assert driver.returncode == 0, err
    calls = (repository / "calls.log").read_text().splitlines()
    assert [call for call in calls if call.startswith("begin")] == ["begin 0 gpu=None resume=None"] * 10
    assert "seed2, finetune fold 0: snapshot" in out and "the best of 2 tested" in out
    runs = {path.parent.name.split("_vfold")[0] for path in (repository / "exps" / "seed2").glob("mySSL*/1")}
    assert runs == {"mySSL_train", "mySSL_test", "mySSL_ft_train", "mySSL_ft_test"}
    config = json.loads(next((repository / "exps" / "seed2").glob("mySSL_ft_train*/1/config.json")).read_text())
    assert (config["n_steps"], config["optim"]["lr"], config["seed"], config["print_interval"]) == (5, 1e-4, 2, 7)
    assert config["selection"]["rule"] == "test"


FAKE_SBATCH = """#!/usr/bin/env bash
set -e
[ -z "${REFUSE:-}" ] || { echo "sbatch: error: invalid partition" >&2; exit 1; }
script=${*: -1}
cp "$script" "$SPOOL/script"
tasks=$(sed -n 's/^#SBATCH --array=0-\\([0-9]*\\).*/\\1/p' "$script")
for task in $(seq 0 "$tasks"); do
    SLURM_JOB_ID=4711 SLURM_ARRAY_JOB_ID=4711 SLURM_ARRAY_TASK_ID=$task bash "$script" >"$SPOOL/task_$task" 2>&1 &
done >&2
echo "Submitted batch job 4711"
"""
FAKE_SRUN = """#!/usr/bin/env bash
while [[ ${1:-} == --* ]]; do
    case "$1" in --output | --error) shift ;; esac
    shift
done
exec "$@"
"""


def test_a_slurm_array_has_a_task_for_every_fold_that_runs_its_steps(repository: Path, tmp_path: Path):
    (tmp_path / "bin").mkdir()
    for name, text in (("sbatch", FAKE_SBATCH), ("srun", FAKE_SRUN)):
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    slurm = {
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "SPOOL": str(tmp_path), "LAUNCHER": "slurm",
        "ALL_EV": "1 3", "SBATCH_ARGS": "--partition gpu --comment='two words' --exclusive", "AT_A_TIME": "2",
    }  # fmt: skip
    driver = bash(repository, "train", "print_interval=7", DRY_RUN="1", **slurm)
    out, err = driver.communicate(timeout=60)
    assert "sbatch --array=0-1%2" in out and "task 1: fold 3" in out and not (tmp_path / "script").exists(), err
    driver = bash(repository, "train", "print_interval=7", **slurm)
    out, err = driver.communicate(timeout=60)
    assert driver.returncode == 0, err
    assert "job 4711 submitted: 2 task(s)" in out
    asked = {line.removeprefix("#SBATCH ") for line in (tmp_path / "script").read_text().splitlines()}
    assert {
        "--array=0-1%2", "--gres=gpu:1", "--cpus-per-task=5", "--requeue", "--partition=gpu", "--comment='two words'",
        "--exclusive", "--time=24:00:00", "--signal=USR2@150",
    } <= asked  # fmt: skip
    calls = repository / "calls.log"
    assert wait_for(lambda: calls.exists() and calls.read_text().count("end") == 2), (tmp_path / "task_0").read_text()
    assert {call for call in calls.read_text().splitlines() if call.startswith("end")} == {"end 1", "end 3"}
    assert "print_interval=7" in (repository / "exps" / "logs" / "train_CHAOST2_Superpix_sets_0_fold3.log").read_text()

    driver = bash(repository, "train", REFUSE="1", **(slurm | {"ALL_EV": "0 2"}))
    out, err = driver.communicate(timeout=60)
    assert driver.returncode == 1
    assert err.splitlines()[-1].startswith("run_folds.py: sbatch refused the job: sbatch: error: invalid partition")


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
        (["all"], {"RELOAD": "none"}, "RELOAD is for one mode"),
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
