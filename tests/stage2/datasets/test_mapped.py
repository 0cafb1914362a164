"""Slices on disk: the same numbers as in memory, made once, made anew when a source changes."""

import dataclasses
import fcntl
import os
import pickle
import shutil

import numpy as np
import pytest

from Stage2.datasets import mapped
from Stage2.datasets.catalog import get_dataset
from Stage2.datasets.episodes import SuperpixelEpisodes
from Stage2.datasets.mapped import SliceCache, map_scan
from Stage2.datasets.pseudo_labels import PseudoLabels
from Stage2.datasets.volumes import Statistics, load_scan
from Stage2.io.volumes import read_volume, write_volume


@pytest.fixture
def folder(cohort_folder, tmp_path):
    """Two scans that a test may change."""
    for kind in ("image", "label", "superpix-MIDDLE"):
        for scan_id in ("1", "10"):
            shutil.copy(cohort_folder / f"{kind}_{scan_id}.nii.gz", tmp_path)
    return tmp_path


CONTENTS = {"with_label": True, "superpixel_scale": "MIDDLE", "data_set": get_dataset("CHAOST2")}
SUPERVOXELS = {"supervoxel_scale": "MIDDLE", "data_set": get_dataset("CHAOST2")}


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


def test_mapped_supervoxels_are_those_in_memory_and_superpixels_are_not_needed(folder):
    (folder / "superpix-MIDDLE_10.nii.gz").rename(folder / "supervox-MIDDLE_10.nii.gz")
    held = load_scan(folder, "10", None, **SUPERVOXELS)
    on_disk = map_scan(folder, "10", None, SliceCache(None, folder), **SUPERVOXELS)
    assert held.superpixels is on_disk.superpixels is None and held.supervoxels.any()
    assert np.array_equal(np.stack(list(on_disk.supervoxels)), held.supervoxels)


def test_supervoxels_are_compared_with_the_settings_even_where_an_array_is_there(folder):
    cache, path = SliceCache(None, folder), folder / "supervox-MIDDLE_10.nii.gz"
    image = read_volume(folder / "image_10.nii.gz")
    numbers = np.ones(image.GetSize()[::-1], np.int32)
    note = PseudoLabels.SUPERVOXELS.note("MIDDLE", get_dataset("CHAOST2").foreground_threshold)
    write_volume(path, numbers, image, note)
    map_scan(folder, "10", None, cache, **SUPERVOXELS)
    other = dataclasses.replace(get_dataset("CHAOST2"), foreground_threshold=7)
    with pytest.raises(ValueError, match=r"supervox-MIDDLE_10\S+ was made with other settings .*> 50.*expected .*> 7"):
        map_scan(folder, "10", None, cache, **SUPERVOXELS | {"data_set": other})
    image.SetSpacing((1, 1, 3))
    write_volume(path, numbers, image, note)
    with pytest.raises(ValueError, match=r"lies elsewhere than .*; expected supervoxels of this image: make") as e:
        map_scan(folder, "10", None, cache, **SUPERVOXELS)
    assert "prepare_data.py supervoxels" in str(e.value) and "label" not in str(e.value)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"make the supervoxels with: python tools/prepare_data.py supervoxels"):
        map_scan(folder, "10", None, cache, **SUPERVOXELS)


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


def test_data_sets_that_share_a_cache_leave_each_others_arrays_alone(folder, tmp_path):
    other = shutil.copytree(folder, tmp_path / "other", ignore=shutil.ignore_patterns("cache"))
    shutil.copy(other / "image_1.nii.gz", other / "image_10.nii.gz")
    caches = [(data, SliceCache(tmp_path / "shared", data)) for data in (folder, other)]
    first, second = (map_scan(data, "10", None, cache, **CONTENTS) for data, cache in caches)
    again = map_scan(folder, "10", None, SliceCache(tmp_path / "shared", folder), **CONTENTS)
    assert not np.array_equal(first.image[2], second.image[2])
    assert again.image.path == first.image.path
    two_classes = dataclasses.replace(get_dataset("CHAOST2"), label_values={0: 0, 1: 1, 2: 1, 3: 0, 4: 0})
    own = map_scan(folder, "10", None, SliceCache(tmp_path / "shared", folder), **CONTENTS | {"data_set": two_classes})
    assert own.label.path != first.label.path and first.label.path.exists()


def test_what_killed_runs_have_left_goes_and_what_live_ones_write_stays(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(mapped.tempfile, "gettempdir", lambda: str(tmp_path))
    (tmp_path / "densemp-slices-killed").mkdir()
    (tmp_path / "densemp-slices-killed" / "image_1.npy").touch()
    cache = folder / "cache"
    cache.mkdir()
    dead, live = (cache / f".image_{n}.{n}.partial.npy" for n in (1, 2))
    dead.touch()
    with live.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        SliceCache(None, folder)
        assert (dead.exists(), live.exists()) == (False, True)
    shutil.rmtree(cache)
    cache.write_text("in the way")
    used = SliceCache(None, folder)
    SliceCache(None, folder)
    assert used.folder.exists() and not (tmp_path / "densemp-slices-killed").exists()


def test_an_array_that_cannot_be_read_is_named(folder):
    scan = map_scan(folder, "10", None, SliceCache(None, folder), **CONTENTS)
    os.truncate(scan.image.path, 200)
    with pytest.raises(OSError, match=r"cache/image_10\S+ cannot be read .*; delete it: the next run makes it anew"):
        scan.image[0]
