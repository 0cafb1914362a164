"""The image folder: what it lists, what it refuses, and that samples depend on seed, epoch and index alone."""

import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from Stage1.datasets import RadiographPairs, SampleKey, SeededSampler

VIEW = {"image_size": 16}


def test_lists_images_of_all_kinds_and_folders_in_order(tmp_path):
    (tmp_path / "deeper").mkdir()
    for name in ("b.jpg", "a.JPEG", "deeper/c.png", "notes.txt", ".hidden.jpg"):
        image = Image.fromarray(np.zeros((8, 8), np.uint8))
        image.save(tmp_path / name, format="PNG") if name != "notes.txt" else (tmp_path / name).write_text("x")
    dataset = RadiographPairs(str(tmp_path))
    assert [str(path.relative_to(tmp_path)) for path in dataset.paths] == ["a.JPEG", "b.jpg", "deeper/c.png"]


def test_missing_empty_and_unreadable_folders_are_one_sentence(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"found no folder .*absent, expected .*; set data_root"):
        RadiographPairs(str(tmp_path / "absent"))
    with pytest.raises(ValueError, match=r"found no image in .*; set data_root"):
        RadiographPairs(str(tmp_path))
    (tmp_path / "a.jpg").write_bytes(b"not an image")
    with pytest.raises(ValueError, match=r"found 1 files named like images .* none can be decoded"):
        RadiographPairs(str(tmp_path))[SampleKey(0, 0, 0)]


def test_damaged_files_are_replaced_by_the_next_readable_one(radiographs, tmp_path):
    folder = tmp_path / "damaged"
    shutil.copytree(radiographs, folder)
    whole = (folder / "03.jpg").read_bytes()
    (folder / "03.jpg").write_bytes(whole[: len(whole) // 2])  # truncated
    (folder / "04.jpg").write_text("<html>not found</html>")
    (folder / "11.jpg").write_bytes(b"")
    (folder / "12.jpg").symlink_to(folder / "gone.jpg")
    dataset = RadiographPairs(str(folder), VIEW)
    replaced_by = {3: 5, 4: 5, 11: 0, 12: 0}
    for index in range(13):
        sample = dataset[SampleKey(index, 0, 0)]
        assert sample["data_samples"] == {"index": index, "unreadable": index in replaced_by}
        if index in replaced_by:
            assert dataset.read(index)[1] == replaced_by[index]


def test_samples_depend_on_seed_epoch_and_index_alone(radiographs):
    dataset = RadiographPairs(str(radiographs), VIEW)
    views = dataset[SampleKey(3, 1, 7)]["inputs"]
    assert views.shape == (2, 3, 16, 16)
    assert not torch.equal(views[0], views[1])
    torch.rand(5), np.random.default_rng().random()
    assert torch.equal(dataset[SampleKey(3, 1, 7)]["inputs"], views)
    for other in (SampleKey(4, 1, 7), SampleKey(3, 2, 7), SampleKey(3, 1, 8)):
        assert not torch.equal(dataset[other]["inputs"], views)
        assert other.view_seed() != SampleKey(3, 1, 7).view_seed()


def test_drawing_views_leaves_the_global_generator(radiographs):
    dataset = RadiographPairs(str(radiographs), VIEW)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    dataset[SampleKey(0, 0, 0)]
    assert torch.equal(torch.get_rng_state(), before)


def test_batches_are_the_same_with_any_number_of_workers(radiographs):
    def batches(workers):
        dataset = RadiographPairs(str(radiographs), VIEW)
        sampler = SeededSampler(dataset, shuffle=True, seed=3)
        sampler.set_epoch(1)
        return [batch["inputs"] for batch in DataLoader(dataset, 4, sampler=sampler, num_workers=workers)]

    for alone, shared in zip(batches(0), batches(2), strict=True):
        assert torch.equal(alone, shared)


def test_every_epoch_sees_every_image_once_in_a_new_order(radiographs):
    sampler = SeededSampler(RadiographPairs(str(radiographs)), shuffle=True, seed=3)
    orders = []
    for epoch in range(2):
        sampler.set_epoch(epoch)
        keys = list(sampler)
        assert {key.epoch for key in keys} == {epoch}
        orders.append([key.index for key in keys])
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(12))
    assert orders[0] != orders[1]
