"""The whole of Stage 2 on a data set of one's own: a drawn heart cohort whose labels are 200, 500 and 600."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from Stage2 import training, validation
from Stage2.datasets.catalog import get_dataset
from Stage2.datasets.cohort import Cohort
from Stage2.datasets.mapped import SliceCache
from Stage2.evaluation.cells import read_cells
from Stage2.preparation.steps.superpixels import prepare_folder
from Stage2.run_folders.layout import list_runs, list_snapshots, read_results
from Stage2.runs.build import data_folder
from Stage2.runs.settings import DEFAULTS, check_config

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "datasets" / "heart.yaml"
STORED = {1: 200, 2: 500, 3: 600}


def draw_heart(scan: int) -> tuple[np.ndarray, np.ndarray]:
    """Image and label as stored of three slices: a ring around the left ventricle, the right one beside it."""
    rows, columns = np.mgrid[:256, :256]
    distance = np.hypot(rows - 128 - 4 * scan, columns - 110)
    label = np.zeros((3, 256, 256), np.int16)
    label[:, distance < 40] = STORED[1]
    label[:, distance < 24] = STORED[2]
    if scan != 1:  # the scan without a right ventricle
        label[:2, 110:150, 160:200] = STORED[3]
    body = np.hypot(rows - 128, columns - 128) < 100
    noise = np.random.default_rng(scan).normal(0, 4, label.shape)
    return (body * (150.0 + 0.4 * label) + noise).clip(0).astype(np.float32), label


@pytest.fixture(scope="module")
def heart(tmp_path_factory) -> tuple[Path, Path]:
    """A data set file for four scans, made of the example, and the prepared folder of these scans."""
    folder = tmp_path_factory.mktemp("heart")
    file = folder / "heart.yaml"
    file.write_text(EXAMPLE.read_text().replace("[0, 7, 14, 21, 28, 35]", "[0, 2, 4]"))
    data = folder / "scans"
    data.mkdir()
    for scan in range(4):
        for kind, voxels in zip(("image", "label"), draw_heart(scan), strict=True):
            sitk.WriteImage(sitk.GetImageFromArray(voxels), str(data / f"{kind}_{scan}.nii.gz"))
    summary = prepare_folder(data, get_dataset(str(file)))
    assert (summary.made, summary.class_maps) == (4, "made")
    return file, data


def copy_of(heart: tuple[Path, Path], folder: Path) -> tuple[Path, Path]:
    """A copy to change, with the times of the files."""
    shutil.copytree(heart[0].parent, folder, dirs_exist_ok=True)
    return folder / "heart.yaml", folder / "scans"


def test_class_maps_tell_labels_by_their_mapped_classes(heart):
    _, data = heart
    one = json.loads((data / "classmap_1.json").read_text())
    assert list(one) == ["background", "myocardium", "left_ventricle", "right_ventricle"]
    assert one["left_ventricle"] == {str(scan): [0, 1, 2] for scan in range(4)}
    assert one["right_ventricle"] == {"0": [0, 1], "1": [], "2": [0, 1], "3": [0, 1]}


def test_the_cohort_has_mapped_labels_and_superpixels(heart):
    file, data = heart
    cohort = Cohort(data, get_dataset(str(file)), fold=0)
    assert (cohort.fold.test, cohort.fold.support, cohort.fold.train) == (["0", "1"], ["2"], ["3"])
    stored = draw_heart(2)[1]
    label = cohort.annotated_scan("2").label
    assert label.dtype == np.uint8
    for own, value in STORED.items():
        assert np.array_equal(label == own, stored == value)
    (trained,) = cohort.training_scans("MIDDLE", SliceCache(None, data), with_label=True)
    assert set(np.unique(list(trained.label))) == {0, 1, 2, 3}
    assert np.max(list(trained.superpixels)) >= 2
    assert cohort.ranges(3, ["0", "1"]) == {"0": (0, 1)}
    assert set(np.unique(read_cells(cohort, "2").labels)) == {0, 1, 2, 3}


def test_class_maps_follow_the_data_set_file(heart, tmp_path):
    file, data = copy_of(heart, tmp_path)
    assert prepare_folder(data, get_dataset(str(file))).class_maps == "kept"
    file.write_text(file.read_text().replace("600: 3", "600: 2").replace("500: 2", "500: 3"))
    later = (data / "classmap_1.json").stat().st_mtime_ns + 10**9
    os.utime(file, ns=(later, later))
    summary = prepare_folder(data, get_dataset(str(file)))
    assert (summary.made, summary.class_maps) == (0, "made")
    assert json.loads((data / "classmap_1.json").read_text())["left_ventricle"]["0"] == [0, 1]


def test_a_value_that_the_mapping_lacks_is_named(heart, tmp_path):
    file, data = copy_of(heart, tmp_path)
    voxels = draw_heart(2)[1]
    voxels[0, 0, 0] = 420
    sitk.WriteImage(sitk.GetImageFromArray(voxels), str(data / "label_2.nii.gz"))
    sentence = r"label_2\.nii\.gz: label values \[420\] are not in label_values .*; map them to a class, or to 0\."
    with pytest.raises(ValueError, match=sentence):
        prepare_folder(data, get_dataset(str(file)), force=True)
    with pytest.raises(ValueError, match=sentence):
        Cohort(data, get_dataset(str(file)), fold=0).annotated_scan("2")


def test_the_settings_are_checked_against_the_file(heart):
    file, _ = heart
    settings = {**DEFAULTS, "dataset": str(file)}
    check_config({**settings, "label_sets": 1, "eval_fold": 1, "exclude_cls_list": [3]})
    for change, sentence in (
        ({"eval_fold": 2}, "eval_fold=2 is not a fold; choose 0 to 1."),
        ({"label_sets": 2}, "label_sets=2 is not a label set of heart; choose one of [0, 1]."),
        ({"exclude_cls_list": [4]}, "exclude_cls_list names 4, which is no organ of heart."),
    ):
        with pytest.raises(ValueError) as caught:
            check_config({**settings, **change})
        assert str(caught.value) == sentence


def test_too_few_scans_for_the_folds_are_refused(heart, tmp_path):
    file, data = copy_of(heart, tmp_path)
    (data / "image_3.nii.gz").unlink()
    with pytest.raises(ValueError, match=r"heart has folds for 4 scans, but 3 were found \(0, 1, 2\)"):
        Cohort(data, get_dataset(str(file)), fold=0)


def test_the_folder_is_the_file_s_or_must_be_given(heart, tmp_path):
    file, data = heart
    with pytest.raises(ValueError, match=r"heart\.yaml names no default_folder; .* path\.data_dir=DIR"):
        data_folder(None, get_dataset(str(file)))
    assert data_folder(str(data), get_dataset(str(file))) == data
    named = tmp_path / "named.yaml"
    named.write_text(file.read_text() + "default_folder: data/heart/normalized\n")
    assert data_folder(None, get_dataset(str(named))) == ROOT / "data" / "heart" / "normalized"


@pytest.fixture(scope="module")
def road(toy, heart, tmp_path_factory):
    """Training, training resumed by another path of the file, and testing."""
    file, data = heart
    log_dir = tmp_path_factory.mktemp("exps")
    shared = {
        "modelname": toy, "dataset": str(file), "path": {"data_dir": str(data), "log_dir": str(log_dir)},
        "num_workers": 0, "device": "cpu",
    }  # fmt: skip
    by_another_path = os.path.relpath(file)
    folder = log_dir / "mySSL_train_vfold0_heart_sets_0_1shot"
    training.experiment.run(config_updates={**shared, "exp_prefix": "train_vfold0", "n_steps": 1})
    training.experiment.run(
        config_updates={
            **shared,
            "exp_prefix": "train_vfold0",
            "n_steps": 2,
            "resume": True,
            "dataset": by_another_path,
        }
    )
    trained = list_runs(folder)[-1]
    snapshot = str(list_snapshots(trained)[-1][1])
    validation.experiment.run(config_updates={**shared, "exp_prefix": "test_vfold0", "reload_model_path": snapshot})
    return log_dir, trained, log_dir / "mySSL_test_vfold0_heart_sets_0_1shot" / "1"


def run_tool(name: str, *arguments: str | Path) -> str:
    command = [sys.executable, ROOT / "tools" / name, *arguments]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_run_folders_snapshots_and_tables_have_the_short_name(heart, road):
    log_dir, trained, _ = road
    assert [step for step, _ in list_snapshots(trained)] == [1, 2]
    found = run_tool(
        "find_snapshot.py", "--log-dir", log_dir, "--exp-prefix", "train_vfold0", "--dataset", heart[0],
        "--label-sets", "0",
    )  # fmt: skip
    assert found == f"{trained / 'snapshots' / '2.pth'}\n"
    assert "heart, label set 0" in run_tool("collect_results.py", log_dir)


def test_a_query_without_the_class_is_left_out_and_reported(road):
    results = read_results(road[2])
    assert (results["dataset"], results["label_values"]) == ("heart", {"0": 0, "200": 1, "500": 2, "600": 3})
    assert set(results["class_means"]) == {"left_ventricle", "right_ventricle"}
    means = results["class_means"]["right_ventricle"]
    assert (means["scans"], means["undefined"]) == (2, 1)
    rows = {(row["class"], row["scan"]): row for row in results["scans"]}
    lacking = rows["right_ventricle", "1"]
    assert (lacking["dice"], lacking["z_min"]) == (None, None)
    assert means["dice"] == rows["right_ventricle", "0"]["dice"] is not None
    masks = sorted(path.name for path in (road[2] / "interm_preds").iterdir())
    assert masks == ["scan_0_label_2.nii.gz", "scan_0_label_3.nii.gz", "scan_1_label_2.nii.gz"]


def test_a_support_that_leaves_no_scan_to_test_is_refused(heart, tmp_path, capsys):
    file, data = heart
    own = tmp_path / "own.yaml"
    own.write_text(file.read_text().replace("[0, 2, 4]", "[0, 1, 2, 4]"))
    settings = {"dataset": str(own), "path": {"data_dir": str(data), "log_dir": str(tmp_path)}, "device": "cpu"}
    with pytest.raises(SystemExit):
        validation.experiment.run(config_updates={**settings, "modelname": "dlfcn_res18", "support_idx": [0]})
    assert "support_idx=[0] takes every test scan (0) as support; leave one to test" in capsys.readouterr().err


def test_a_support_scan_without_the_class_is_refused(heart):
    file, data = heart
    cohort = Cohort(data, get_dataset(str(file)), fold=0)
    with pytest.raises(ValueError, match=r"support scan 1 of .* right_ventricle; choose another one with support_idx"):
        cohort.support_slices(3, "1", 3, 1)
