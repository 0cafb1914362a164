"""The driver's Python half over stub entry points: what runs, where, what is skipped, resumed and chosen.

Driver, selection and progress are real.
"""

import fcntl
import importlib.util
import json
import os
from pathlib import Path
from types import ModuleType

import pytest
from examples.driving import make_repository


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return make_repository(tmp_path / "a repository")


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
    status, said, calls = drive("train", wishes={"fail": ["1"]})
    assert (status, begun(calls)) == (3, ["0", "1"])
    assert "fold 1 failed with status 3; the last lines of" in said.err
    assert said.err.splitlines()[-1].strip() == "error: no memory"
    status, said, calls = drive("train", "--folds", "all")
    assert (status, begun(calls)) == (0, ["1", "2", "3", "4"])
    assert "4 run(s), 0 of them to resume; launcher serial" in said.out


def test_runs_are_not_spread_by_the_serial_launcher(drive):
    for options in (("--gpus", "0 1"), ("--jobs-per-gpu", "2")):
        status, said, calls = drive("train", "--launcher", "serial", *options)
        assert (status, calls) == (1, []) and "runs one at a time; name one GPU, or LAUNCHER=ray" in said.err
    status, said, calls = drive("train", "--gpus", "3", "--folds", "0")
    assert (status, calls[0]) == (0, "begin 0 gpu=3 resume=None")


def test_a_graph_runs_a_fold_to_its_end_before_the_next(drive, repository: Path):
    def part(mode: str, *options: str) -> list[str]:
        words = ["dataset=CHAOST2_Superpix", "label_sets=0", f"path.log_dir={repository / 'exps'}", "support_idx=[4]"]
        words += ["val_wsize=2"] if "test" in mode else ["n_steps=40", "save_snapshot_every=10"]
        where = ["--logs", str(repository / "logs"), "--folds", "0 1", "--label", f"{mode} "]
        return ["--and", *where, *options, mode, *words]

    rest = [*part("test", "--every-snapshot"), *part("finetune", "--select", "test"), *part("finetune-test")]
    status, said, calls = drive("train", "--dry-run", "--folds", "0 1", settings=rest)
    assert (status, calls) == (0, [])
    assert "finetune fold 1, after test fold 1: snapshot <train snapshot of fold 1> (" in said.out
    status, said, calls = drive("train", "--folds", "0 1", settings=rest, wishes={"dice": {"20": 0.9}})
    assert (status, begun(calls)) == (0, ["0"] * 7 + ["1"] * 7), said.err
    assert "finetune fold 1: snapshot" in said.out and "at step 20, the best of 4 tested" in said.out
    status, said, calls = drive("train", "--folds", "0 1", settings=rest)
    assert (status, calls) == (0, []) and "nothing to do" in said.out


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("support_idx=4", "support_idx=4: expected a list of whole numbers"),
        ("n_steps=5k", "n_steps='5k': expected a whole number"),
        ("num_workers=four", "num_workers='four': expected a whole number"),
        ("print_intervall=3", "print_intervall is not a setting; the nearest one is print_interval"),
        ("eval_fold=3", "eval_fold=3 is chosen for each run; set ALL_EV instead"),
        ("exp_prefix=mine", "exp_prefix=mine is chosen for each run; set RUN_NAME instead"),
        ("resume=False", "resume=False is chosen for each run; set RESTART=1 instead"),
    ],
)
def test_a_setting_that_no_run_would_take_is_one_sentence_before_any_starts(drive, setting: str, sentence: str):
    status, said, calls = drive("train", "--launcher", "slurm", settings=(setting,))
    assert (status, calls) == (1, [])
    assert sentence in said.err and len(said.err.splitlines()) == 1


def test_a_setting_that_is_no_text_is_planned_and_run(drive, repository: Path):
    folder = repository / os.fsdecode(b"caf\xe9")
    status, said, _ = drive("train", "--dry-run", "--folds", "0", settings=(f"path.log_dir={folder}",))
    assert status == 0 and "caf\\xe9" in said.out
    assert drive("train", "--folds", "0", settings=(f"path.log_dir={folder}",))[0] == 0
    assert len(list(folder.glob("*/1/snapshots/40.pth"))) == 1


def test_a_start_is_given_by_name_where_the_driver_chooses_none(drive):
    status, said, _ = drive("test", "--dry-run", "--reload", "none", settings=("reload_model_path=a.pth",))
    assert status == 1 and "reload_model_path=a.pth is chosen for each run; set RELOAD instead" in said.err
    status, said, _ = drive("train", "--dry-run", "--folds", "0", settings=("reload_model_path=a.pth",))
    assert status == 0 and said.out.count(" reload_model_path=a.pth ") == 1


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
    assert chosen("test", "--steps", "10 40 10", "--restart")[0] == ["10", "40"]
    status, said, _ = drive("finetune", "--folds", "0", "--steps", "10 40")
    assert status == 1 and "finetune starts from one snapshot" in said.err
    steps, text = chosen("finetune", "--reload", "/of/mine/snapshots/7.pth")
    assert steps == ["7"] and "as given" in text

    status, _, calls = drive("finetune", "--folds", "0", "--select", "test")
    assert begun(calls) == ["0"]
    assert drive("finetune", "--folds", "0", "--select", "test")[2] == []
    assert begun(drive("finetune", "--folds", "0")[2]) == ["0"], "from another snapshot it is another fine-tuning"
