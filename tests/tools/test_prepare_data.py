"""The command line of data preparation."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

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
