"""The image folder: what it lists, what it refuses, and that samples depend on seed, epoch and index alone."""

import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from Stage1.datasets import Radiographs, SampleKey, SeededSampler, collate_views
from Stage1.datasets.images import UnreadableImageError
from Stage1.datasets.radiographs import check_sample, to_grey

VIEW = {"image_size": 16}


def test_missing_empty_and_unreadable_folders_are_one_sentence(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"found no folder .*absent, expected .*; set data_root"):
        Radiographs(str(tmp_path / "absent"))
    with pytest.raises(ValueError, match=r"found no image in .*; set data_root"):
        Radiographs(str(tmp_path))
    (tmp_path / "a.jpg").write_bytes(b"not an image")
    with pytest.raises(ValueError, match=r"found 1 files named like images .* none can be decoded"):
        Radiographs(str(tmp_path))[SampleKey(0, 0, 0)]


def test_damaged_files_are_replaced_by_the_next_readable_one(radiographs, tmp_path):
    folder = tmp_path / "damaged"
    shutil.copytree(radiographs, folder)
    whole = (folder / "03.jpg").read_bytes()
    (folder / "03.jpg").write_bytes(whole[: len(whole) // 2])  # truncated
    (folder / "04.jpg").write_text("<html>not found</html>")
    (folder / "11.jpg").write_bytes(b"")
    (folder / "12.jpg").symlink_to(folder / "gone.jpg")
    dataset = Radiographs(str(folder), VIEW)
    replaced_by = {3: 5, 4: 5, 11: 0, 12: 0}
    for index in range(13):
        sample = dataset[SampleKey(index, 0, 0)]
        bad = {3: {3, 4}, 4: {4}, 11: {11, 12}, 12: {12}}.get(index, set())
        assert sample["data_samples"]["unreadable"].keys() == bad
        image, unreadable = dataset.read(index)
        assert unreadable == sample["data_samples"]["unreadable"]
        assert torch.equal(image, dataset.read(replaced_by.get(index, index))[0])


def test_too_many_unreadable_files_stop_early(radiographs, tmp_path):
    for number in range(100):
        (tmp_path / f"{number:03d}.jpg").symlink_to(radiographs / f"{number % 12:02d}.jpg")
    for number in range(0, 50, 10):
        (tmp_path / f"{number:03d}.jpg").unlink()
        (tmp_path / f"{number:03d}.jpg").write_bytes(b"")
    dataset = Radiographs(str(tmp_path))
    check_sample(dataset)  # 5 of 100
    (tmp_path / "051.jpg").unlink()
    (tmp_path / "051.jpg").write_text("<html>")
    with pytest.raises(
        ValueError, match=r"found 6 unreadable files among 100 images .*\(000.jpg: .*\), expected at most 5%"
    ):
        check_sample(dataset)


@pytest.mark.parametrize(("damaged", "stops"), [(10, False), (22, False), (23, True), (200, True)])
def test_a_sample_of_a_large_folder_stops_only_where_it_is_decisive(monkeypatch, tmp_path, damaged, stops):
    for number in range(1000):
        (tmp_path / f"{number:04d}.jpg").touch()
    read = []

    def read_image(path):
        read.append(path)
        if len(read) <= damaged:
            raise UnreadableImageError("empty file")

    monkeypatch.setattr("Stage1.datasets.radiographs.read_image", read_image)
    dataset = Radiographs(str(tmp_path))
    if stops:
        with pytest.raises(ValueError, match="unreadable files among 200 images"):
            check_sample(dataset)
    else:
        check_sample(dataset)
    assert len(set(read)) == 200
    assert read[0].name == "0000.jpg"
    assert read[-1].name == "0999.jpg"


def test_samples_depend_on_seed_epoch_and_index_alone(radiographs):
    dataset = Radiographs(str(radiographs), VIEW)
    views = dataset[SampleKey(3, 1, 7)]["inputs"]
    assert views.shape == (2, 3, 16, 16)
    assert views.dtype == torch.uint8
    assert not torch.equal(views[0], views[1])
    torch.rand(5), np.random.default_rng().random()
    colour = dataset[SampleKey(3, 1, 7)]["data_samples"]["colour"]
    assert all(
        np.array_equal(a, b) for a, b in zip(colour, dataset[SampleKey(3, 1, 7)]["data_samples"]["colour"], strict=True)
    )
    assert torch.equal(dataset[SampleKey(3, 1, 7)]["inputs"], views)
    for other in (SampleKey(4, 1, 7), SampleKey(3, 2, 7), SampleKey(3, 1, 8)):
        assert not torch.equal(dataset[other]["inputs"], views)
        assert other.generator().random() != SampleKey(3, 1, 7).generator().random()


def test_every_sample_has_a_seed_of_its_own(radiographs):
    dataset = Radiographs(str(radiographs), VIEW, views=1)
    keys = [SampleKey(seed, epoch, index) for seed in (0, 1) for epoch in (0, 1) for index in range(12)]
    seeds = [dataset[key]["data_samples"]["seed"] for key in keys]
    assert len(set(seeds)) == len(seeds) and all(0 <= seed < 2**63 for seed in seeds)
    assert seeds == [dataset[key]["data_samples"]["seed"] for key in keys]
    batch = collate_views([dataset[key] for key in keys[:3]])
    assert batch["inputs"].shape == (3, 1, 3, 16, 16)
    assert batch["data_samples"]["seed"].tolist() == seeds[:3]


def test_colour_images_are_made_grey_where_that_is_wanted(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "colour.png")
    grey = to_grey(torch.from_numpy(pixels).permute(2, 0, 1))
    expected = np.asarray(Image.fromarray(pixels).convert("L")).astype(int)
    assert grey.shape == (1, 20, 30)
    assert np.abs(grey[0].numpy().astype(int) - expected).max() <= 1
    assert to_grey(grey) is grey
    for wanted in (False, True):
        sample = Radiographs(str(tmp_path), VIEW, grey=wanted)[SampleKey(0, 0, 0)]
        channels = sample["inputs"].unbind(1)
        assert torch.equal(channels[0], channels[1]) == wanted
        assert sample["data_samples"]["grey"] == wanted


@pytest.mark.parametrize("size", [(20, 30), (16, 16), (1, 40)])
def test_without_crop_the_whole_image_is_resized(tmp_path, size):
    pixels = np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "image.png")
    view = {"image_size": 16, "crop_scale": None, "flip_probability": 0.0}
    found = Radiographs(str(tmp_path), view, views=1)[SampleKey(0, 0, 0)]["inputs"][0, 0]
    expected = np.asarray(Image.fromarray(pixels).resize((16, 16), Image.Resampling.BILINEAR)).astype(int)
    assert np.abs(found.numpy().astype(int) - expected).max() <= 1


def test_an_image_is_decoded_once_for_all_its_views(radiographs, monkeypatch):
    read = []
    monkeypatch.setattr(
        "Stage1.datasets.radiographs.read_image", lambda path: read.append(path) or torch.zeros(1, 8, 8).byte()
    )
    assert Radiographs(str(radiographs), VIEW, views=5)[SampleKey(0, 0, 3)]["inputs"].shape == (5, 3, 16, 16)
    assert len(read) == 1


def test_drawing_views_leaves_the_global_generator(radiographs):
    dataset = Radiographs(str(radiographs), VIEW)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    dataset[SampleKey(0, 0, 0)]
    assert torch.equal(torch.get_rng_state(), before)


def test_batches_are_the_same_with_any_number_of_workers(radiographs):
    def batches(workers):
        dataset = Radiographs(str(radiographs), VIEW)
        sampler = SeededSampler(dataset, shuffle=True, seed=3)
        sampler.set_epoch(1)
        return list(DataLoader(dataset, 4, sampler=sampler, num_workers=workers, collate_fn=collate_views))

    for alone, shared in zip(batches(0), batches(2), strict=True):
        assert alone["inputs"].shape == (4, 2, 3, 16, 16)
        assert torch.equal(alone["inputs"], shared["inputs"])
        for name, drawn in alone["data_samples"]["colour"]._asdict().items():
            assert drawn.shape == ((4, 2, 4) if name == "order" else (4, 2))
            assert torch.equal(drawn, getattr(shared["data_samples"]["colour"], name))


def test_every_epoch_sees_every_image_once_in_a_new_order(radiographs):
    sampler = SeededSampler(Radiographs(str(radiographs)), shuffle=True, seed=3)
    orders = []
    for epoch in range(2):
        sampler.set_epoch(epoch)
        keys = list(sampler)
        assert {key.epoch for key in keys} == {epoch}
        orders.append([key.index for key in keys])
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(12))
    assert orders[0] != orders[1]
