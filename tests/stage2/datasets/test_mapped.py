"""Slices on disk: the same numbers as in memory, made once, made anew when a source changes."""

import os
import pickle
import shutil

import numpy as np
import pytest

from Stage2.datasets import mapped
from Stage2.datasets.catalog import get_dataset
from Stage2.datasets.episodes import SuperpixelEpisodes
from Stage2.datasets.mapped import SliceCache, map_scan
from Stage2.datasets.volumes import Statistics, load_scan


@pytest.fixture
def folder(cohort_folder, tmp_path):
    """Two scans that a test may change."""
    for kind in ("image", "label", "superpix-MIDDLE"):
        for scan_id in ("1", "10"):
            shutil.copy(cohort_folder / f"{kind}_{scan_id}.nii.gz", tmp_path)
    return tmp_path


CONTENTS = {"with_label": True, "superpixel_scale": "MIDDLE", "data_set": get_dataset("CHAOST2")}


@pytest.mark.parametrize("statistics", [None, Statistics(312.5, 77.7)])
def test_mapped_slices_are_those_in_memory(folder, statistics):
    held = load_scan(folder, "10", statistics, **CONTENTS)
    on_disk = map_scan(folder, "10", statistics, SliceCache(None, folder), **CONTENTS)
    for own, expected in (
        (on_disk.image, held.image),
        (on_disk.label, held.label),
        (on_disk.superpixels, held.superpixels),
    ):
        assert len(own) == len(expected)
        assert np.array_equal(np.stack([own[z] for z in range(len(own))]), expected)
    assert on_disk.image[0].dtype == np.float32


def test_arrays_are_made_once_and_shared(folder, monkeypatch):
    map_scan(folder, "10", None, SliceCache(None, folder), **CONTENTS)
    monkeypatch.setattr(mapped, "read_image", None)  # nothing is read from the volumes any more
    map_scan(folder, "10", Statistics(0, 1), SliceCache(None, folder), superpixel_scale="MIDDLE")
    assert len(list((folder / "cache").glob("*10-*.npy"))) == 3


def test_a_changed_volume_is_read_again_and_its_old_array_goes(folder):
    cache = SliceCache(None, folder)
    before = map_scan(folder, "10", Statistics(0, 1), cache, **CONTENTS)
    first = before.image[2]
    shutil.copy(folder / "image_1.nii.gz", folder / "image_10.nii.gz")
    os.utime(folder / "image_10.nii.gz", ns=(1, 1))
    after = map_scan(folder, "10", Statistics(0, 1), cache, **CONTENTS)
    assert not np.array_equal(after.image[2], first)
    assert not before.image.path.exists()
    assert len(list(cache.folder.glob("*.npy"))) == 3


def test_a_bad_volume_leaves_no_array(folder):
    shutil.copy(folder / "superpix-MIDDLE_10.nii.gz", folder / "image_10.nii.gz")
    (folder / "superpix-MIDDLE_10.nii.gz").write_bytes(b"")
    cache = SliceCache(None, folder)
    with pytest.raises(ValueError, match=r"superpix-MIDDLE_10\.nii\.gz"):
        map_scan(folder, "10", None, cache, superpixel_scale="MIDDLE")
    assert [path.name[:9] for path in cache.folder.iterdir()] == ["image_10-"]


def test_a_folder_that_cannot_be_written_to_is_left_alone(folder):
    (folder / "cache").write_text("in the way")
    cache = SliceCache(None, folder)
    scan = map_scan(folder, "10", None, cache, **CONTENTS)
    assert scan.image[0].shape == (256, 256)
    assert cache.folder.parent != folder
    place = cache.folder
    del cache
    assert not place.exists()
    with pytest.raises(OSError, match="cache"):
        SliceCache(folder / "cache" / "named", folder)


def test_what_a_loader_worker_receives_does_not_grow_with_the_slices(folder):
    cache = SliceCache(None, folder)
    scans = [map_scan(folder, scan_id, None, cache, **CONTENTS) for scan_id in ("1", "10")]
    episodes = SuperpixelEpisodes(scans, excluded={}, seed=0)
    assert len(pickle.dumps(episodes)) < 5_000 < scans[0].image[0].nbytes
    held = SuperpixelEpisodes([load_scan(folder, s.id, None, **CONTENTS) for s in scans], excluded={}, seed=0)
    for index in range(10):
        for key, value in held[index].items():
            assert (value == episodes[index][key]).all()
