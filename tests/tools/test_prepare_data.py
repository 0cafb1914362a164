"""The command line of data preparation."""

import ast
import logging
import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image
from stage2.preparation.drawn_archives import write_sabs
from tool_modules import load_tool

from Stage1.files import locked

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def prepare_data():
    return load_tool("prepare_data")


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    folder = tmp_path / "a cohort"
    folder.mkdir()
    for scan_id in ("3", "4"):
        voxels = np.zeros((1, 256, 256), np.float32)
        voxels[0, 50:150, 50:150] = 300
        for kind, array in (("image", voxels), ("label", (voxels > 0).astype(np.uint8))):
            sitk.WriteImage(sitk.GetImageFromArray(array), str(folder / f"{kind}_{scan_id}.nii.gz"))
    return folder


def test_it_runs_from_any_directory_over_processes(cohort, tmp_path):
    command = [sys.executable, str(ROOT / "tools" / "prepare_data.py"), "superpixels", "a cohort"]
    command += ["--dataset", "CHAOST2", "--out", "out", "--workers", "2"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "superpixels of 2 scan(s) made, 0 there already; class maps made" in result.stdout
    assert "2/2" in result.stderr
    assert len(list((tmp_path / "out").glob("superpix-MIDDLE_*.nii.gz"))) == 2
    assert (tmp_path / "out" / "classmap_100.json").is_file()
    assert not list(cohort.glob("superpix*"))
    again = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert "superpixels of 0 scan(s) made, 2 there already; class maps kept" in again.stdout
    assert again.stderr == ""


def test_the_scale_names_the_files(prepare_data, cohort):
    assert (
        prepare_data.main(["superpixels", str(cohort), "--dataset", "SABS", "--scale", "SMALL", "--workers", "1"]) == 0
    )
    assert (cohort / "superpix-SMALL_3.nii.gz").is_file()


def test_check_says_what_is_wrong_and_fails(prepare_data, cohort, caplog, capsys, monkeypatch, tmp_path):
    caplog.set_level(logging.INFO)
    monkeypatch.chdir(cohort.parent)
    own = Path("own.yaml")
    own.write_text(
        "{name: own, modality: MR, classes: {BG: 0, LIVER: 1}, evaluated: [1], label_sets: {0: []}, "
        "folds: [0, 1, 2, 4], foreground_threshold: 50}"
    )
    command = ["check", "a cohort", "--dataset", "own.yaml", "--workers", "1"]
    assert prepare_data.main([*command, "--out", "elsewhere"]) == 1
    assert "problem: a cohort/superpix-MIDDLE_<id>.nii.gz is missing for scans 3, 4" in caplog.text
    assert "tools/prepare_data.py superpixels 'a cohort' --dataset own.yaml" in caplog.text
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("prepare_data.py: a cohort has ") and "elsewhere/check.json" in error
    assert not Path("a cohort/check.json").exists() and Path("elsewhere/contact_sheets/scan_3.png").is_file()

    for name in ("image", "label"):
        for new, old in ((5, 3), (6, 4)):
            shutil.copy(f"a cohort/{name}_{old}.nii.gz", f"a cohort/{name}_{new}.nii.gz")
    assert prepare_data.main(["superpixels", *command[1:]]) == 0
    caplog.clear()
    assert prepare_data.main(command) == 1
    assert "fold 2: tests 5, 6; support 3; trains on 1 scan(s)" in caplog.text
    assert [record.message for record in caplog.records if record.message.startswith("problem")] == [
        f"problem: a cohort/superpix-MIDDLE_{scan}.nii.gz has 1 segment(s) in the middle one of its slices; expected "
        "several, as episodes are drawn from them: is the image scaled as the data set's are (not to [0, 1])?"
        for scan in (3, 4, 5, 6)
    ]

    for path in cohort.glob("image_*"):
        voxels = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
        textured = voxels + np.random.default_rng(0).normal(0, 9, voxels.shape).astype(np.float32)
        sitk.WriteImage(sitk.GetImageFromArray(textured), str(path))
    assert prepare_data.main(["superpixels", *command[1:]]) == prepare_data.main(command) == 0
    assert "a cohort is sound: a cohort/check.json, contact sheets in a cohort/contact_sheets" in caplog.text


@pytest.mark.parametrize(
    ("folder", "dataset", "message"),
    [
        ("missing", "CHAOST2", "missing is not a folder"),
        (".", "CHAOST2", "no image_<id>.nii.gz"),
        ("a cohort", "LITS", "dataset=LITS is unknown; choose one of CHAOST2, SABS"),
    ],
)
def test_errors_are_one_line(prepare_data, cohort, capsys, monkeypatch, folder, dataset, message):
    monkeypatch.chdir(cohort.parent)
    assert prepare_data.main(["superpixels", folder, "--dataset", dataset]) == 1
    error = capsys.readouterr().err
    assert error.startswith("prepare_data.py: ") and message in error and error.count("\n") == 1


def test_the_default_is_a_process_for_each_core(prepare_data, cohort, monkeypatch):
    from Stage2.preparation.steps import superpixels

    seen = {}

    def remember(folder, data_set, **settings):
        seen.update(settings)
        raise KeyboardInterrupt

    monkeypatch.setattr(superpixels, "prepare_folder", remember)
    assert prepare_data.main(["superpixels", str(cohort), "--dataset", "CHAOST2"]) == 130
    assert seen["workers"] == len(os.sched_getaffinity(0))


@pytest.fixture
def radiographs(tmp_path: Path) -> Path:
    folder = tmp_path / "roco"
    for name in ("train/radiology/images/a.jpg", "train/radiology/images/b.png", "train/non-radiology/images/c.jpg"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.arange(200, dtype=np.uint8).reshape(10, 20)).save(folder / name)
    (folder / "train/radiology/images/d.jpg").write_bytes(b"")
    return folder


def test_roco_is_made_counted_and_resumed(prepare_data, radiographs, monkeypatch, caplog, capsys):
    caplog.set_level(logging.INFO)
    monkeypatch.chdir(radiographs.parent)
    command = ["roco", "roco", "out", "--longest-side", "10", "--mode", "copy", "--workers", "1"]
    assert prepare_data.main(command) == 0
    assert "out: 2 image(s) made, 0 there already, 1 unreadable (" in caplog.text
    assert " images/s)" in caplog.text
    assert "WARNING: found 1 of 3 images unreadable (33.3 %)" in caplog.text
    assert "3/3" in capsys.readouterr().err
    assert sorted(path.name for path in Path("out").iterdir()) == ["a.jpg", "b.png", "roco.json", "unreadable.txt"]
    assert Image.open("out/a.jpg").size == (10, 5)
    assert prepare_data.main(command) == 0
    assert "out: 0 image(s) made, 2 there already, 1 unreadable (" in caplog.text
    assert prepare_data.main([*command[:3], "--force"]) == 0
    assert Path("out/a.jpg").is_symlink()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["absent", "out"], "found no folder"),
        (["roco/train/radiology", "roco/train/radiology/out"], "one inside the other"),
        (["roco", "roco/train/radiology/images/d.jpg"], "one inside the other"),
        (["empty", "out"], "found no image in"),
        (["roco", "file/out"], "cannot be written"),
        (["roco", "other"], "found images but no roco.json in"),
    ],
)
def test_roco_s_errors_are_one_line(prepare_data, radiographs, capsys, monkeypatch, arguments, message):
    monkeypatch.chdir(radiographs.parent)
    Path("empty").mkdir()
    Path("file").touch()
    Path("other").mkdir()
    Path("other/mine.jpg").touch()
    assert prepare_data.main(["roco", *arguments]) == 1
    error = capsys.readouterr().err
    assert error.startswith("prepare_data.py: ") and message in error and error.count("\n") == 1


@pytest.mark.parametrize("option", ["--longest-side", "--workers"])
def test_numbers_are_positive(prepare_data, option, capsys):
    for number in ("0", "-3", "many"):
        with pytest.raises(SystemExit):
            prepare_data.main(["roco", "source", "out", f"{option}={number}"])
        assert f"found {number}, expected a whole number from 1 up" in capsys.readouterr().err


HEAVY = {"torch", "mmengine", "mmcv", "scipy.ndimage", "skimage", "matplotlib", "cv2"}
READERS = {"SimpleITK", "nibabel", "numpy"}
WATCHED = f"""
import runpy, sys
sys.argv = ["prepare_data.py", *sys.argv[1:]]
try:
    runpy.run_path({str(ROOT / "tools" / "prepare_data.py")!r}, run_name="__main__")
finally:
    print(sorted({HEAVY | READERS!r} & sys.modules.keys()), file=sys.stderr)
"""


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["--help"], 0),
        *(([name, "--help"], 0) for name in ("chaos", "custom", "roco", "normalise", "superpixels", "check")),
        (["superpixels", "folder"], 2),
        (["custom", "mine.txt", "raw", "out"], 2),
        (["nothing"], 2),
    ],
)
def test_help_and_refused_arguments_load_no_library(tmp_path, arguments, status):
    done = subprocess.run([sys.executable, "-c", WATCHED, *arguments], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == status and done.stderr.splitlines()[-1] == "[]"


@pytest.fixture
def raw_ct(tmp_path: Path) -> Path:
    """Two scans, and a data set file beside them."""
    write_sabs(tmp_path / "raw", (1, 2), side=64)
    (tmp_path / "mine.yaml").write_text(
        "{name: mine, modality: CT, classes: {BG: 0, A: 1, B: 2, C: 3, D: 4}, evaluated: [1], label_sets: {0: []}, "
        "folds: [0, 1, 2, 4], foreground_threshold: 20, preparation: {images: 'Training/img/img{scan}.nii.gz', "
        "labels: 'Training/label/label{scan}.nii.gz', window: [-150, 400]}}"
    )
    return tmp_path


def test_a_dry_run_loads_readers_only_and_writes_nothing(raw_ct):
    command = [sys.executable, "-c", WATCHED, "custom", "mine.yaml", "raw", "out", "--dry-run"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=raw_ct)
    assert done.returncode == 0 and "2 scan(s) to make of 2" in done.stdout and "Nothing was written." in done.stdout
    assert not HEAVY & set(ast.literal_eval(done.stderr.splitlines()[-1])) and not (raw_ct / "out").exists()


@pytest.mark.parametrize("command", ["custom mine.yaml raw", "convert mine.yaml raw", "normalise mine.yaml raw"])
def test_a_second_preparation_into_a_folder_is_refused(prepare_data, raw_ct, capsys, monkeypatch, command):
    monkeypatch.chdir(raw_ct)
    for path in Path("raw").rglob("img*.nii.gz"):
        shutil.copy(path, f"raw/image_{int(path.name[3:7])}.nii.gz")
    with locked("out"):
        assert prepare_data.main([*command.split(), "out", "--workers", "1"]) == 1
        error = capsys.readouterr().err.splitlines()[-1]
        assert error.startswith(f"prepare_data.py: process {os.getpid()} on ") and " works in out; wait until" in error
    assert not any(Path("out").iterdir())


@pytest.mark.parametrize("command", ["superpixels", "classmap", "check"])
def test_a_second_process_in_a_processed_folder_is_refused(prepare_data, cohort, capsys, command):
    with locked(cohort):
        assert prepare_data.main([command, str(cohort), "--dataset", "CHAOST2", "--workers", "1"]) == 1
    assert f"works in {cohort}; wait until" in capsys.readouterr().err
    assert len(list(cohort.iterdir())) == 4


def test_a_kill_leaves_no_process_and_the_next_run_no_half_written_file(cohort):
    for number in range(5, 13):
        for kind in ("image", "label"):
            shutil.copy(cohort / f"{kind}_3.nii.gz", cohort / f"{kind}_{number}.nii.gz")
    command = [sys.executable, str(ROOT / "tools" / "prepare_data.py"), "superpixels", str(cohort), "--workers", "2"]
    process = subprocess.Popen([*command, "--dataset", "CHAOST2"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while not list(cohort.glob("*fgmask_*")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    started = time.monotonic()
    process.communicate()  # ends when the last worker, which holds the pipes too, has ended
    assert time.monotonic() - started < 10
    (cohort / ".superpix-MIDDLE_5.77.partial.nii.gz").write_bytes(b"half")
    done = subprocess.run([*command, "--dataset", "CHAOST2"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not list(cohort.glob(".*")) and len(list(cohort.glob("superpix-MIDDLE_*"))) == 10


def test_a_full_disk_is_one_line_with_the_name_of_the_file(raw_ct):
    def fill() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))

    command = [sys.executable, str(ROOT / "tools" / "prepare_data.py"), "custom", "mine.yaml", "raw", "out"]
    for workers in ("1", "2"):
        done = subprocess.run(
            [*command, "--workers", workers], capture_output=True, text=True, cwd=raw_ct, preexec_fn=fill
        )
        lines = [line for line in done.stderr.splitlines() if line.startswith("prepare_data.py: ")]
        assert done.returncode == 1 and "Traceback" not in done.stderr and len(lines) == 1
        assert "out/" in lines[0] and "could not be written (File too large); make room" in lines[0]
    assert not list((raw_ct / "out").glob(".*")) and not list((raw_ct / "out").glob("image_*"))


def test_names_that_are_not_utf8_are_read_or_named(prepare_data, raw_ct, capfdbinary, monkeypatch):
    monkeypatch.chdir(raw_ct)
    folder = Path("raw/RawData/Training")
    for kind in ("img", "label"):
        (folder / kind / f"{kind}0002.nii.gz").rename(folder / kind / (kind + os.fsdecode(b"caf\xe9.nii.gz")))
    assert prepare_data.main(["custom", "mine.yaml", "raw", "out", "--workers", "1"]) == 1  # two scans, not four
    assert sorted(path.name for path in Path("out").glob("image_*")) == ["image_0.nii.gz", "image_1.nii.gz"]
    damaged = Path(os.fsdecode(b"raw/RawData/Training/img/imgcaf\xe9.nii.gz"))
    damaged.write_bytes(damaged.read_bytes()[:-40])
    assert prepare_data.main(["custom", "mine.yaml", "raw", "other", "--workers", "1"]) == 1
    assert b"imgcaf\\xe9.nii.gz is truncated or damaged" in capfdbinary.readouterr().err
