"""Quickstart refuses bad input first, runs its steps in order, and repeats only what is not done.

The steps' programs are stubs that note their calls and leave the files that the next step needs; the driver, the
snapshot finder and the table are real.
"""

import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from examples.quickstart_stubs import ROOT, STUB, make_repository

QUICKSTART = ROOT / "examples" / "quickstart.sh"
ALL_CALLS = [
    "setup",
    "demo chaos,roco",
    "roco",
    "chaos",
    "pretrain data_root=roco max_epochs=3 depth=18 batch_size=32 precision=fp32 "
    "default_hooks.checkpoint.interval=1",
    "extract epoch_3.pth",
    "test no snapshot",
    "train 200 1e-3",
    "test 200.pth",
    "finetune 50 1e-4 from 200.pth",
    "test 50.pth",
    "draw losses",
    "draw segmentation",
]


def run(script: Path, *arguments: str, cwd: Path) -> subprocess.CompletedProcess:
    return subprocess.run(["bash", str(script), *arguments], cwd=cwd, capture_output=True, text=True, timeout=120)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return make_repository(tmp_path / "a repository")


def quickstart(repository: Path, *arguments: str) -> tuple[subprocess.CompletedProcess, list[str]]:
    """The finished process and the stubs called by it."""
    log = repository / "calls.log"
    log.unlink(missing_ok=True)
    result = run(repository / "examples" / "quickstart.sh", *arguments, cwd=repository.parent)
    return result, log.read_text().splitlines() if log.exists() else []


def make_cohort(folder: Path, scans: int = 20) -> Path:
    folder.mkdir(parents=True)
    for scan in range(scans):
        (folder / f"image_{scan}.nii.gz").touch()
        (folder / f"label_{scan}.nii.gz").touch()
    return folder


def test_the_whole_road_and_what_is_repeated_afterwards(repository: Path):
    result, calls = quickstart(repository)
    assert result.returncode == 0, result.stderr
    assert calls == ALL_CALLS
    assert "=== [12/12] Results" in result.stdout
    assert "| RK       |     0.125 |          0.500 |             0.750 |" in result.stdout
    out = repository / "exps" / "quickstart"
    assert {"results.csv", "results.md", "losses.png", "segmentation.png"} <= {path.name for path in out.iterdir()}

    result, calls = quickstart(repository)
    assert result.returncode == 0, result.stderr
    assert calls == ["setup", "draw losses", "draw segmentation"], "the same options: nothing twice"
    assert result.stdout.count("already done with these settings") == 10

    _, calls = quickstart(repository, "--finetune-steps", "7")
    assert calls == ["setup", "finetune 7 1e-4 from 200.pth", "test 7.pth", "draw losses", "draw segmentation"]

    (out / "backbone.pth").unlink()
    _, calls = quickstart(repository, "--finetune-steps", "7")
    assert calls[:4] == ["setup", "extract epoch_3.pth", "train 200 1e-3", "test 200.pth"], (
        "a lost output is made again"
    )

    _, calls = quickstart(repository, "--restart")
    assert calls == ALL_CALLS


def test_a_failing_step_stops_and_is_taken_up_again(repository: Path):
    broken = repository / "Stage2" / "finetuning.py"
    content = broken.read_text()
    broken.write_text("import sys; print('error: no memory', file=sys.stderr); sys.exit(1)")
    result, calls = quickstart(repository)
    assert result.returncode == 1
    assert calls == ALL_CALLS[:9]
    broken.write_text(content)
    _, calls = quickstart(repository)
    assert calls == ["setup", *ALL_CALLS[9:]]


def test_an_interrupted_training_goes_on_where_the_settings_are_the_same(repository: Path):
    stage1, stage2 = repository / "tools" / "single_train.sh", repository / "Stage2" / "training.py"
    contents = {path: path.read_text() for path in (stage1, stage2)}
    note = 'import os; note("RESTART=" + os.environ["RESTART"])\n'
    kept = repository / "exps" / "quickstart" / "stage1" / "epoch_1.pth"
    stage1.write_text(contents[stage1] + f'mkdir -p "$3" && rm -f "$3"/* && touch {shlex.quote(str(kept))} && exit 9\n')
    assert quickstart(repository)[0].returncode == 9 and kept.exists()
    result, calls = quickstart(repository)
    assert result.returncode == 9 and calls[-1].endswith(" --auto-resume") and "was interrupted" in result.stdout
    stage1.write_text(contents[stage1])
    stage2.write_text(STUB + note + "sys.exit(9)")
    _, calls = quickstart(repository, "--pretrain-epochs", "2")
    assert "--auto-resume" not in calls[1] and not kept.exists(), "nothing of other settings is left"
    assert calls[-1] == "RESTART=1"
    assert quickstart(repository, "--pretrain-epochs", "2")[1][-1] == "RESTART=0"
    assert quickstart(repository, "--pretrain-epochs", "2", "--steps", "9")[1][-1] == "RESTART=1"
    stage2.write_text(contents[stage2])
    assert quickstart(repository, "--pretrain-epochs", "2", "--steps", "9")[1][1] == "train 9 1e-3"


def test_paths_may_hold_anything(repository: Path, tmp_path: Path):
    odd = "it's [1], \"a=b\" (c) $HOME #2"
    data = make_cohort(tmp_path / odd / "scans")
    (tmp_path / odd / "x").mkdir()
    for number in range(32):
        (tmp_path / odd / "x" / f"{number}.png").touch()
    out = tmp_path / odd / "out"
    words = ["--data", str(data), "--radiographs", str(tmp_path / odd / "x"), "--out", str(out)]
    result, calls = quickstart(repository, *words)
    assert result.returncode == 0, result.stderr
    assert "test 50.pth" in calls and (out / "results.md").is_file()
    assert len(list((out / "runs").glob("mySSL_*"))) == 5
    assert not [path for path in tmp_path.iterdir() if path.name not in (odd, repository.name)], "nothing elsewhere"


def test_real_folders_are_not_written_to(repository: Path, tmp_path: Path):
    data = make_cohort(tmp_path / "my scans")
    (tmp_path / "x rays").mkdir()
    for number in range(32):
        (tmp_path / "x rays" / f"{number}.PNG").touch()
    before = sorted(path.name for path in data.iterdir())
    result, calls = quickstart(
        repository, "--data", "my scans", "--radiographs", "x rays", "--fold", "4", "--steps", "9"
    )
    assert result.returncode == 0, result.stderr
    assert calls[1:3] == ["superpixels", "check"]
    assert "data_root=x rays" in calls[3]
    assert "train 9 1e-3" in calls
    assert sorted(path.name for path in data.iterdir()) == before
    assert len(list((repository / "data" / "quickstart").glob("my scans-*/classmap_1.json"))) == 1

    (data / "image_0.nii.gz").write_text("changed")
    _, calls = quickstart(repository, "--data", "my scans", "--radiographs", "x rays", "--fold", "4", "--steps", "9")
    assert calls[1:5] == ["superpixels", "check", "test no snapshot", "train 9 1e-3"]


def test_a_dry_run_prints_and_runs_nothing(repository: Path):
    result, calls = quickstart(repository, "--dry-run", "--model", "dlfcn_res50", "--steps", "12")
    assert result.returncode == 0, result.stderr
    assert calls == []
    assert not (repository / "exps").exists()
    assert "MODELNAME=dlfcn_res50" in result.stdout
    assert "NSTEP=12" in result.stdout
    assert " depth=50 " in result.stdout
    assert "prepare_data.py chaos " in result.stdout and "prepare_data.py roco " in result.stdout
    result, _ = quickstart(repository, "--dry-run", "--data", str(make_cohort(repository / "data" / "mine")))
    assert "prepare_data.py superpixels " in result.stdout and "prepare_data.py check " in result.stdout


def test_a_folder_that_the_check_refuses_is_not_trained_on(repository: Path):
    make_cohort(repository.parent / "mine")
    with (repository / "tools" / "prepare_data.py").open("a") as stub:
        stub.write("sys.exit(command == 'check')")
    for _ in range(2):
        result, calls = quickstart(repository, "--data", "mine")
        assert result.returncode == 1 and calls[-2:] == ["superpixels", "check"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--fold", "5"], "--fold 5 is not possible; choose one of: 0 1 2 3 4"),
        (["--label-set", "2"], "--label-set 2 is not possible"),
        (["--model", "vgg"], "--model vgg is not possible"),
        (["--dataset", "ACDC"], "--dataset ACDC is not possible"),
        (["--dataset", "absent.yaml"], "--dataset absent.yaml does not exist"),
        (["--dataset", "own.yaml"], "--dataset own.yaml needs --data"),
        (["--dataset", "own.yaml", "--data", "empty", "--fold", "x"], "--fold x --label-set 0 is not possible"),
        (["--precision", "fp8"], "--precision fp8 is not possible"),
        (["--steps", "0"], "--steps 0 is not possible; give a whole number, 1 or more"),
        (["--finetune-steps", "many"], "--finetune-steps many is not possible"),
        (["--steps"], "--steps needs a value"),
        (["--stepz", "3"], "option '--stepz' is unknown"),
        (["--data", "absent"], "--data absent does not exist"),
        (["--data", "file"], "--data file is not a folder"),
        (["--data", "empty"], "--data empty holds no image_<id>.nii.gz"),
        (["--data", "unlabelled"], "--data unlabelled holds 1 image_<id>.nii.gz but 0 label_<id>.nii.gz"),
        (
            ["--radiographs", "empty"],
            "--radiographs empty holds 0 images; expected 32 .jpg, .jpeg or .png files or more",
        ),
        (["--out", "file"], "--out file is not a folder"),
    ],
)
def test_bad_input_is_one_sentence_before_anything_starts(repository: Path, arguments: list[str], sentence: str):
    place = repository.parent
    (place / "file").touch()
    (place / "own.yaml").touch()
    (place / "empty").mkdir()
    (place / "unlabelled").mkdir()
    (place / "unlabelled" / "image_1.nii.gz").touch()
    result, calls = quickstart(repository, *arguments)
    assert result.returncode == 2
    assert sentence in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert calls == []


def test_a_cohort_of_the_wrong_size_stops_before_the_first_step(repository: Path, tmp_path: Path):
    make_cohort(tmp_path / "few", scans=3)
    result, calls = quickstart(repository, "--data", "few")
    assert result.returncode == 2
    assert "CHAOST2 has folds for 20 scans, but 3 were found" in result.stderr
    assert "pretrain" not in " ".join(calls)


def test_an_own_data_set_goes_the_same_road(repository: Path, tmp_path: Path):
    file = tmp_path / "my heart.yaml"
    shutil.copy(ROOT / "examples" / "datasets" / "heart.yaml", file)
    make_cohort(tmp_path / "hearts", scans=35)
    options = ["--data", "hearts", "--dataset", file.name, "--fold", "4"]
    result, _ = quickstart(repository, *options, "--label-set", "2")
    assert result.returncode == 2 and "label_sets=2 is not a label set of heart" in result.stderr
    result, calls = quickstart(repository, *options, "--label-set", "1", "--out", "out")
    assert result.returncode == 0, result.stderr
    assert "heart, fold 4: 27 training scans" in result.stdout and "superpixels" in calls
    assert (tmp_path / "out" / "runs" / "mySSL_train_vfold4_heart_sets_1_1shot" / "1").is_dir()
    file.write_text(file.read_text().replace("600: 3", "600: 3\n  420: 0"))
    _, calls = quickstart(repository, *options, "--label-set", "1", "--out", "out")
    assert "superpixels" in calls and "pretrain" not in " ".join(calls)


def test_help_tells_every_option():
    text = run(QUICKSTART, "--help", cwd=ROOT).stdout
    parsed = [line for line in QUICKSTART.read_text().splitlines() if line.strip().startswith("--") and "|" in line]
    options = {word for line in parsed for word in line.replace(")", " ").split() if word.startswith("--")}
    assert len(options) >= 12
    assert all(option in text for option in options)
