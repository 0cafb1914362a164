"""Reading and normalising scans, and what is said when a folder is not as it should be."""

import json

import numpy as np
import pytest
import SimpleITK as sitk

from Stage2.datasets.catalog import get_dataset
from Stage2.datasets.cohort import Cohort
from Stage2.datasets.mapped import SliceCache
from Stage2.datasets.volumes import (
    fold_statistics,
    list_scans,
    load_scan,
    pooled_statistics,
    read_class_map,
    slices_with_class,
)
from Stage2.io.nifti import read_voxels


def write(path, volume):
    sitk.WriteImage(sitk.GetImageFromArray(volume), str(path))


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for scan, level in (("2", 100), ("10", 300), ("1", 50)):
        write(tmp_path / f"image_{scan}.nii.gz", rng.normal(level, 10, (3, 257, 257)).astype(np.float32))
        write(tmp_path / f"label_{scan}.nii.gz", rng.integers(0, 5, (3, 257, 257)).astype(np.uint8))
        write(tmp_path / f"superpix-MIDDLE_{scan}.nii.gz", rng.integers(0, 9, (3, 257, 257)).astype(np.int32))
    return tmp_path


def test_scans_are_listed_by_number(folder):
    assert list_scans(folder) == ["1", "2", "10"]


def test_mr_scans_are_normalised_by_themselves_over_the_whole_volume(folder):
    volume = read_voxels(folder / "image_10.nii.gz").astype(np.float64)
    scan = load_scan(folder, "10", fold_statistics(folder, "MR", ["1"]), with_label=True, superpixel_scale="MIDDLE")
    expected = (volume - volume.mean()) / volume.std()
    np.testing.assert_allclose(scan.image, expected[:, :256, :256], atol=1e-4)
    assert scan.image.dtype == np.float32
    assert scan.label.shape == scan.superpixels.shape == (3, 256, 256)


def test_ct_scans_are_normalised_by_the_training_volumes(folder):
    training = np.stack([read_voxels(folder / f"image_{scan}.nii.gz") for scan in ("1", "2")]).astype(np.float64)
    statistics = fold_statistics(folder, "CT", ["1", "2"])
    assert (statistics.mean, statistics.std) == (pytest.approx(training.mean()), pytest.approx(training.std()))
    test_volume = read_voxels(folder / "image_10.nii.gz").astype(np.float64)
    expected = (test_volume - training.mean()) / training.std()
    np.testing.assert_allclose(load_scan(folder, "10", statistics).image, expected[:, :256, :256], atol=1e-4)


def test_pooled_statistics_of_volumes_of_unequal_size():
    rng = np.random.default_rng(1)
    volumes = [rng.normal(place, 3, (2, 5, place + 4)) for place in range(6)]
    values = np.concatenate([volume.ravel() for volume in volumes])
    statistics = pooled_statistics(volumes)
    assert (statistics.mean, statistics.std) == (pytest.approx(values.mean()), pytest.approx(values.std()))


def test_missing_superpixels_name_the_command_that_makes_them(folder):
    (folder / "superpix-MIDDLE_2.nii.gz").unlink()
    with pytest.raises(FileNotFoundError, match=r"superpix-MIDDLE_2.*prepare_data.py superpixels"):
        load_scan(folder, "2", None, superpixel_scale="MIDDLE")


def test_label_on_another_grid_is_refused(folder):
    write(folder / "label_2.nii.gz", np.zeros((4, 257, 257), dtype=np.uint8))
    with pytest.raises(ValueError, match=r"label_2.* has 257 x 257 x 4 .*image_2.* 257 x 257 x 3;"):
        load_scan(folder, "2", None, with_label=True)


@pytest.mark.parametrize("value", [-1, 1 << 20])
def test_numbers_that_no_superpixel_has_are_refused(folder, value):
    write(folder / "superpix-MIDDLE_2.nii.gz", np.full((3, 257, 257), value, dtype=np.int32))
    with pytest.raises(ValueError, match=rf"superpix-MIDDLE_2.* {value}; expected superpixels .* --force"):
        load_scan(folder, "2", None, superpixel_scale="MIDDLE")


def test_superpixels_on_another_grid_are_refused(folder):
    write(folder / "superpix-MIDDLE_2.nii.gz", np.zeros((3, 256, 256), dtype=np.int32))
    with pytest.raises(ValueError, match=r"superpix-MIDDLE_2.* has 256 x 256 x 3 .*image_2.* 257 x 257 x 3;"):
        load_scan(folder, "2", None, superpixel_scale="MIDDLE")


def test_label_placed_elsewhere_is_refused(folder):
    label = sitk.ReadImage(str(folder / "label_2.nii.gz"))
    label.SetSpacing((1, 1, 3))
    sitk.WriteImage(label, str(folder / "label_2.nii.gz"))
    with pytest.raises(ValueError, match=r"label_2.*lies elsewhere .*image_2.*1 x 1 x 3 mm against LPS, voxels of 1"):
        load_scan(folder, "2", None, with_label=True)


@pytest.mark.parametrize(("value", "kind"), [(9, np.uint8), (260, np.int16), (-1, np.int16), (1.5, np.float32)])
def test_label_values_that_are_no_class_are_refused(folder, value, kind):
    """260 is 4, spleen, and -1 is 255 in 8 bits."""
    label = np.zeros((3, 257, 257), dtype=kind)
    label[1, 5, 5] = value
    write(folder / "label_2.nii.gz", label)
    with pytest.raises(ValueError, match=rf"label_2.nii.gz: label values \[{value}\] belong to no class; .*SPLEEN"):
        load_scan(folder, "2", None, with_label=True, data_set=get_dataset("CHAOST2"))


@pytest.mark.parametrize(
    ("volume", "sentence"),
    [
        (np.full((2, 256, 256), np.nan, dtype=np.float32), r"131072 voxel\(s\) that are not finite"),
        (np.ones((2, 256, 256), dtype=np.float32), "without contrast"),
        (np.ones((2, 100, 256), dtype=np.float32), "slices of 100 x 256"),
        (np.full((2, 256, 256), np.inf, dtype=np.float32), r"131072 voxel\(s\) that are not finite"),
        (np.ones((256, 256, 40), dtype=np.float32), "slices along the first axis"),
        (np.ones((256, 40, 256), dtype=np.float32), "slices along the second axis"),
        (np.ones((2, 512, 512), dtype=np.float32), "slices of 512 x 512"),
        (np.ones((256, 256), dtype=np.float32), "2 dimensions"),
    ],
)
def test_unusable_images_are_refused(folder, volume, sentence):
    write(folder / "image_2.nii.gz", volume)
    with pytest.raises(ValueError, match=f"image_2.nii.gz.*{sentence}"):
        load_scan(folder, "2", None)


def test_truncated_file_is_named(folder):
    path = folder / "image_2.nii.gz"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"image_2.nii.gz is truncated or damaged"):
        load_scan(folder, "2", None)


def test_folders_without_scans_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="is not a folder"):
        list_scans(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="no image_<id>"):
        list_scans(tmp_path)
    write(tmp_path / "image_a1.nii.gz", np.zeros((2, 4, 4), dtype=np.uint8))
    with pytest.raises(ValueError, match="'a1' is not a number"):
        list_scans(tmp_path)


def test_two_scans_with_one_number_are_refused(folder):
    write(folder / "image_02.nii.gz", np.zeros((2, 4, 4), dtype=np.uint8))
    with pytest.raises(ValueError, match=r"has scans (02 and 2|2 and 02), which are one number"):
        list_scans(folder)


def test_class_maps(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"classmap_1.json is missing .*none"):
        read_class_map(tmp_path, 1)
    (tmp_path / "classmap_1.json").write_text(json.dumps({"RK": {"3": [7, 5]}}))
    with pytest.raises(FileNotFoundError, match=r"classmap_100.json is missing .*classmap_1.json"):
        read_class_map(tmp_path, 100)
    class_map = read_class_map(tmp_path, 1)
    assert slices_with_class(class_map, "RK", "3", tmp_path) == [5, 7]
    with pytest.raises(ValueError, match="no entry for class RK, scan 4"):
        slices_with_class(class_map, "RK", "4", tmp_path)


@pytest.mark.parametrize(
    "text", ['{"RK": {"3": [7', "[]", '{"RK": [1]}', '{"RK": {"3": 7}}', '{"RK": {"3": ["7"]}}', ""]
)
def test_a_broken_class_map_is_named(tmp_path, text):
    (tmp_path / "classmap_1.json").write_text(text)
    with pytest.raises(ValueError, match=r"classmap_1\.json is no class map .*prepare_data.py superpixels"):
        read_class_map(tmp_path, 1)


def test_cohort_roles(cohort_folder, tmp_path):
    cohort = Cohort(cohort_folder, get_dataset("CHAOST2"), fold=0)
    scans = cohort.training_scans("MIDDLE", SliceCache(tmp_path, cohort_folder))
    assert [scan.id for scan in scans] == [str(i) for i in range(5, 20)]
    assert all(scan.label is None for scan in scans)
    scan = cohort.annotated_scan("4")
    with_liver = np.flatnonzero((scan.label == 1).any(axis=(1, 2))).tolist()
    assert cohort.slices(1, "4") == with_liver
    assert cohort.ranges(1, ["4"]) == {"4": (with_liver[0], with_liver[-1])}


def test_setting_2_leaves_out_every_training_slice_with_a_test_class(cohort_folder):
    cohort = Cohort(cohort_folder, get_dataset("CHAOST2"), fold=0)
    excluded = cohort.excluded_slices([2, 3])
    assert set(excluded) == set(cohort.fold.train)
    for scan_id, slices in excluded.items():
        label = cohort.annotated_scan(scan_id).label
        assert slices == set(np.flatnonzero(np.isin(label, (2, 3)).any(axis=(1, 2))))
    assert cohort.excluded_slices([]) == {}


def test_support_scan_without_the_class_is_named(cohort_folder, tmp_path):
    for path in cohort_folder.iterdir():
        (tmp_path / path.name).symlink_to(path)
    class_map = json.loads((cohort_folder / "classmap_1.json").read_text())
    class_map["RK"]["4"] = []
    (tmp_path / "classmap_1.json").unlink()
    (tmp_path / "classmap_1.json").write_text(json.dumps(class_map))
    cohort = Cohort(tmp_path, get_dataset("CHAOST2"), fold=0)
    with pytest.raises(ValueError, match=r"support scan 4 .* RK; choose another one with support_idx"):
        cohort.support_slices(2, "4", 3, 1)
