"""The driver over stub entry points: what runs, where, what is skipped, resumed, stopped and submitted.

The stubs leave run folders as the real entry points do; driver, selection and progress are real.
"""

import fcntl
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
STUB = """
import ast, json, os, signal, sys, time
from pathlib import Path
root = Path(__file__).resolve().parents[1]
settings = dict(word.split("=", 1) for word in sys.argv[2:])
fold = settings["eval_fold"]
def note(text):
    with open(root / "calls.log", "a") as log:
        print(text, file=log)
name = f"mySSL_{settings['exp_prefix']}_{settings['dataset']}_sets_{settings['label_sets']}_1shot"
folder = Path(settings["path.log_dir"]) / name
run = folder / str(1 + len(list(folder.glob("*"))))
run.mkdir(parents=True)
config = {}
for key, value in settings.items():
    try:
        value = ast.literal_eval(value)
    except (ValueError, SyntaxError):
        pass
    group, _, key = key.rpartition(".")
    (config.setdefault(group, {}) if group else config)[key] = value
(run / "config.json").write_text(json.dumps(config))
def keep(step):
    (run / "snapshots").mkdir(exist_ok=True)
    (run / "snapshots" / f"{step}.pth").touch()
    (run / "training_state.pth").touch()
def stop(number, frame):
    keep(1)
    note(f"stopped {fold}")
    sys.exit(143)
signal.signal(signal.SIGTERM, stop)
wishes = json.loads((root / "wishes.json").read_text()) if (root / "wishes.json").is_file() else {}
note(f"begin {fold} gpu={os.environ.get('CUDA_VISIBLE_DEVICES')} resume={settings.get('resume')}")
print(f"fold {fold} at work")
while fold in wishes.get("after", {}) and wishes["after"][fold] not in (root / "calls.log").read_text():
    time.sleep(0.02)
time.sleep(wishes.get("seconds", {}).get(fold, 0))
if fold in wishes.get("fail", []):
    print("10%|#", end="\\r")
    print("error: no memory", file=sys.stderr)
    sys.exit(3)
if Path(__file__).stem == "validation":
    snapshot = settings["reload_model_path"]
    dice = wishes.get("dice", {}).get(Path(snapshot).stem, 0.5)
    results = dict(protocol="paper", snapshot=snapshot, mean=dict(dice=dice))
    (run / "results.json").write_text(json.dumps(results))
else:
    every = int(settings["save_snapshot_every"])
    for step in range(every, int(settings["n_steps"]) + 1, every):
        keep(step)
note(f"end {fold}")
"""


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """The driver beside stub entry points."""
    root = tmp_path / "a repository"
    scripts = [f"examples/{name}" for name in ("run_experiment.sh", "shared.bash", "published_settings.bash")]
    for name in (*scripts, "tools/run_folds.py"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, root / name)
    for entry in ("training", "finetuning", "validation"):
        (root / "Stage2").mkdir(exist_ok=True)
        (root / "Stage2" / f"{entry}.py").write_text(STUB)
    return root


@pytest.fixture
def run_folds(repository: Path) -> ModuleType:
    specification = importlib.util.spec_from_file_location("run_folds_copy", repository / "tools" / "run_folds.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture
def drive(repository: Path, run_folds: ModuleType, capfd):
    """Calls the driver's Python half; gives its status, what it printed and the calls of the stubs."""

    def call(mode: str, *options: str, settings: tuple[str, ...] = (), wishes: dict | None = None):
        (repository / "wishes.json").write_text(json.dumps(wishes or {}))
        (repository / "calls.log").unlink(missing_ok=True)
        words = ["dataset=CHAOST2_Superpix", "label_sets=0", f"path.log_dir={repository / 'exps'}", "support_idx=[4]"]
        words += ["n_steps=40", "save_snapshot_every=10", "optim.lr=1e-3"] if "test" not in mode else ["val_wsize=2"]
        status = run_folds.main(["--logs", str(repository / "logs"), *options, mode, *words, *settings])
        log = repository / "calls.log"
        return status, capfd.readouterr(), log.read_text().splitlines() if log.exists() else []

    return call


def begun(calls: list[str]) -> list[str]:
    return [call.split()[1] for call in calls if call.startswith("begin")]


def bash(repository: Path, *arguments: str, **environment: str) -> subprocess.Popen:
    """The driver as a process, on label set 0 of MR."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "PYTHONPATH") if name in os.environ}
    given = {"DATASET": "CHAOST2_Superpix", "LABEL_SETS": "0", "LOGDIR": str(repository / "exps"), "NSTEP": "10"}
    return subprocess.Popen(
        ["bash", str(repository / "examples" / "run_experiment.sh"), *arguments],
        env=kept | {"PYTHON": sys.executable, "SNAPSHOT_INTERVAL": "5"} | given | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # tests in the background ignore Ctrl-C
    )


def test_folds_run_in_order_and_what_is_finished_is_not_run_again(drive, repository: Path):
    status, said, calls = drive("train", "--folds", "2 0")
    assert status == 0
    assert calls == ["begin 2 gpu=None resume=None", "end 2", "begin 0 gpu=None resume=None", "end 0"]
    assert "fold 2 at work" in said.out and "1 of 2 done, about" in said.out
    log = (repository / "logs" / "train_CHAOST2_Superpix_sets_0_fold2.log").read_text()
    assert "fold 2 at work" in log and "Stage2/training.py' with " in log

    status, said, calls = drive("train", "--folds", "0 1 2")
    assert (status, begun(calls)) == (0, ["1"])
    assert said.out.count("finished: ") == 2

    status, said, calls = drive("train", "--folds", "0", settings=("optim.lr=5e-4",))
    assert begun(calls) == ["0"] and "resume=None" in calls[0]
    assert "has other settings (optim.lr=0.001 there, 0.0005 here)" in said.out
    status, said, calls = drive("train", "--folds", "0")
    assert (status, calls) == (1, []), "the older run is the wanted one, but the newer one would be tested"
    assert "is newer and has others" in said.err and len(said.err.splitlines()) == 1
    assert begun(drive("train", "--folds", "0", "--restart")[2]) == ["0"]


def test_a_dry_run_prints_commands_and_writes_nothing(drive, repository: Path):
    status, said, calls = drive("finetune", "--dry-run", "--folds", "all")
    assert (status, calls) == (0, [])
    commands = [line for line in said.out.splitlines() if not line.startswith("[")]
    assert len(commands) == 5 and all("Stage2/finetuning.py' with " in line for line in commands)
    assert not (repository / "exps").exists() and not (repository / "logs").exists()


def test_the_first_failure_stops_all_and_shows_the_end_of_its_log(drive):
    wishes = {"fail": ["1"], "seconds": {"0": 30}, "after": {"1": "begin 0"}}
    status, said, calls = drive("train", "--gpus", "0 1", wishes=wishes)
    assert status == 3
    assert sorted(begun(calls)) == ["0", "1"] and "stopped 0" in calls
    assert "fold 1 failed with status 3; the last lines of" in said.err
    assert said.err.splitlines()[-1].strip() == "error: no memory"
    status, said, calls = drive("train")
    assert status == 0
    assert [call for call in calls if call.startswith("begin")] == [
        f"begin {fold} gpu=None resume={'True' if fold == 0 else None}" for fold in range(5)
    ]
    assert "5 run(s), 1 of them to resume" in said.out and "(step 1 or later)" in said.out


def test_folds_spread_over_gpus_each_taking_one_at_a_time(drive):
    status, said, calls = drive("train", "--gpus", "3 5", wishes={"after": {"0": "end 1"}})
    assert status == 0
    assert "5 run(s), 0 of them to resume; 2 at a time over GPU 3, GPU 5" in said.out
    busy: dict[str, str] = {}
    for what, fold, *rest in (call.split() for call in calls):
        if what == "begin":
            gpu = rest[0].removeprefix("gpu=")
            assert gpu in ("3", "5") and gpu not in busy.values(), "one run at a time on each"
            busy[fold] = gpu
        else:
            del busy[fold]
    assert {call.split()[1] for call in calls} == set("01234"), "a free GPU takes the next fold"
    assert "at work" not in said.out


def test_two_drivers_never_share_a_run(drive, repository: Path):
    (repository / "logs").mkdir()
    with (repository / "logs" / "train_CHAOST2_Superpix_sets_0_fold1.log").open("ab") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        status, said, calls = drive("train", "--folds", "1")
        assert (status, calls) == (1, [])
        assert "fold 1: another process is at this run" in said.err
    assert drive("train", "--folds", "1")[0] == 0


def test_snapshots_are_chosen_by_the_rule_that_is_asked_for(drive, repository: Path):
    def chosen(mode: str, *options: str) -> list[str]:
        status, said, _ = drive(mode, "--dry-run", "--folds", "0", *options)
        assert status == 0
        words = [line for line in said.out.splitlines() if not line.startswith("[")]
        return [line.partition("snapshots/")[2].partition(".pth")[0] for line in words], said.out

    drive("train", "--folds", "0 1")
    status, said, _ = drive("finetune", "--folds", "0", "--select", "test")
    assert status == 1 and "has no test of its snapshots" in said.err and "SNAPSHOTS=all" in said.err
    status, said, calls = drive(
        "test", "--folds", "0 1", "--every-snapshot", wishes={"dice": {"10": 0.2, "20": 0.7, "30": 0.7, "40": 0.6}}
    )
    assert (status, begun(calls)) == (0, ["0"] * 4 + ["1"] * 4)
    assert drive("test", "--folds", "0 1", "--every-snapshot")[2] == []
    assert drive("test", "--folds", "0")[2] == [], "the last snapshot was tested among all"
    steps, text = chosen("finetune", "--select", "test")
    assert steps == ["20"], "the earlier of equals"
    assert "mean Dice in test scans 0.7000 at step 20, the best of 4 tested" in text
    assert chosen("finetune")[0] == ["40"]
    assert chosen("finetune", "--steps", "30")[0] == ["30"]
    assert chosen("test", "--steps", "10 40", "--restart")[0] == ["10", "40"]
    status, said, _ = drive("finetune", "--folds", "0", "--steps", "10 40")
    assert status == 1 and "finetune starts from one snapshot" in said.err
    steps, text = chosen("finetune", "--reload", "/of/mine/snapshots/7.pth")
    assert steps == ["7"] and "as given" in text

    status, _, calls = drive("finetune", "--folds", "0", "--select", "test")
    assert begun(calls) == ["0"]
    assert drive("finetune", "--folds", "0", "--select", "test")[2] == []
    assert begun(drive("finetune", "--folds", "0")[2]) == ["0"], "from another snapshot it is another fine-tuning"


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


def test_a_run_that_outlives_its_driver_is_not_started_twice(repository: Path):
    (repository / "wishes.json").write_text(json.dumps({"seconds": {"0": 30}}))
    driver = bash(repository, "train", ALL_EV="0", JOBS_PER_GPU="2")
    wait_for((repository / "calls.log").exists)
    (run,) = children_of(driver.pid)
    driver.kill()
    driver.communicate(timeout=20)
    second = bash(repository, "train", ALL_EV="0")
    _, err = second.communicate(timeout=20)
    os.kill(run, signal.SIGKILL)
    assert second.returncode == 1 and "fold 0: another process is at this run" in err


def children_of(process: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def wait_for(ready):
    deadline = time.monotonic() + 20
    while not (answer := ready()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return answer


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
        (["train"], {"JOBS_PER_GPU": "0"}, "'0' is not a whole number of 1 or more"),
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
