"""The command line of data preparation."""

import importlib.util
import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def prepare_data():
    spec = importlib.util.spec_from_file_location("prepare_data", ROOT / "tools" / "prepare_data.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


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
    seen = {}

    def remember(folder, data_set, **settings):
        seen.update(settings)
        raise KeyboardInterrupt

    monkeypatch.setattr(prepare_data, "prepare_folder", remember)
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
        (["roco", "file/out"], "cannot write to"),
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
