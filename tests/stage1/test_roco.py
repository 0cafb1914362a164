"""ROCO's tree becomes one flat folder of readable images, whatever interrupts the work."""

import json
import logging
import os
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from Stage1.datasets import roco
from Stage1.datasets.images import list_images, read_image
from Stage1.datasets.roco import prepare_roco
from Stage1.files import locked


def save(path: Path, height: int = 12, width: int = 16, colour: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(len(path.name)).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels if colour else pixels[..., 0]).save(path)


def content(folder: Path) -> dict[str, bytes | str]:
    """Name -> bytes, or the target of a link."""
    return {path.name: str(path.readlink()) if path.is_symlink() else path.read_bytes() for path in folder.iterdir()}


def images(folder: Path) -> list[str]:
    return sorted(set(content(folder)) - {"roco.json", "unreadable.txt"})


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """The published tree: six training images, one of them in a subfolder, and three damaged files."""
    folder = tmp_path / "unpacked" / "all_data"
    training = folder / "train/radiology/images"
    for name in ("a.jpg", "b.jpg", "c.png", "d.JPEG", "e.jpg", "more/a.jpg"):
        save(training / name)
    for other in ("train/non-radiology", "validation/radiology", "test/radiology"):
        save(folder / other / "images" / "other.jpg")
    (training / "cut.jpg").write_bytes((training / "a.jpg").read_bytes()[:-40])
    (training / "empty.jpg").touch()
    (training / "page.jpg").write_text("<html>")
    return tmp_path / "unpacked"


@pytest.fixture
def training(tree: Path) -> Path:
    return tree / "all_data/train/radiology/images"


@pytest.mark.parametrize("mode", ["link", "copy"])
def test_readable_radiology_images_are_placed_flat(tree, training, tmp_path, mode, caplog):
    caplog.set_level(logging.INFO)
    assert prepare_roco(tree, tmp_path / "out", mode) == roco.RocoCounts(made=6, kept=0, unreadable=3)
    out = content(tmp_path / "out")
    sources = {"a.jpg": "a.jpg", "more__a.jpg": "more/a.jpg"} | {n: n for n in ("b.jpg", "c.png", "d.JPEG", "e.jpg")}
    assert out.keys() == sources.keys() | {"roco.json", "unreadable.txt"}
    for name, source in sources.items():
        assert out[name] == (str(training / source) if mode == "link" else (training / source).read_bytes())
    assert out["unreadable.txt"].decode() == (
        f"{training}/cut.jpg\ttruncated JPEG\n{training}/empty.jpg\tempty file\n{training}/page.jpg\tnot an image\n"
    )
    assert len(list_images(tmp_path / "out")) == 6
    assert f"radiology images for training: 9 in {training}" in caplog.text
    assert "2 images share their names with others" in caplog.text
    assert "such as more__a.jpg" in caplog.text


@pytest.mark.parametrize("part", ["", "all_data", "all_data/train", "all_data/train/radiology"])
def test_any_folder_above_the_images_will_do(tree, tmp_path, part):
    prepare_roco(tree / part, tmp_path / "out")
    assert images(tmp_path / "out") == ["a.jpg", "b.jpg", "c.png", "d.JPEG", "e.jpg", "more__a.jpg"]


def test_a_folder_without_the_published_tree_is_taken_whole(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    for name in ("x/a.jpg", "y/a.jpg", "y/z/a.jpg", "x__a.jpg", "b.jpg"):
        save(tmp_path / "set" / name)
    prepare_roco(tmp_path / "set", tmp_path / "out")
    assert "all images (there is no train/radiology/images): 5" in caplog.text
    assert images(tmp_path / "out") == ["_x__a.jpg", "b.jpg", "x__a.jpg", "y__a.jpg", "y__z__a.jpg"]
    assert (tmp_path / "out/x__a.jpg").resolve() == tmp_path / "set/x__a.jpg"


def test_equal_runs_make_equal_folders(tree, tmp_path):
    for name in ("one", "two"):
        prepare_roco(tree, tmp_path / name, "copy", longest_side=8)
    assert content(tmp_path / "one") == content(tmp_path / "two")


def test_a_second_run_makes_only_what_is_new_or_changed(tree, training, tmp_path, monkeypatch):
    out = tmp_path / "out"
    prepare_roco(tree, out, "copy")
    before = content(out)
    made = []
    make = roco.make_image
    monkeypatch.setattr(roco, "make_image", lambda job, how: made.append(job.source.name) or make(job, how))
    damaged = ["cut.jpg", "empty.jpg", "page.jpg"]  # looked at again, as a reason may have gone
    assert prepare_roco(tree, out, "copy") == roco.RocoCounts(made=0, kept=6, unreadable=3)
    assert made == damaged
    assert content(out) == before
    made.clear()

    save(training / "new.jpg")
    save(training / "b.jpg", height=30)
    (training / "e.jpg").write_text("no longer an image")
    (training / "c.png").unlink()
    (out / "d.JPEG").unlink()
    save(training / "page.jpg")
    assert prepare_roco(tree, out, "copy") == roco.RocoCounts(made=4, kept=2, unreadable=3)
    assert sorted(made) == ["b.jpg", "cut.jpg", "d.JPEG", "e.jpg", "empty.jpg", "new.jpg", "page.jpg"]
    assert images(out) == ["a.jpg", "b.jpg", "d.JPEG", "more__a.jpg", "new.jpg", "page.jpg"]
    assert (out / "b.jpg").read_bytes() == (training / "b.jpg").read_bytes()


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_an_interrupted_run_goes_on(tree, tmp_path, monkeypatch, error):
    out = tmp_path / "out"
    monkeypatch.setattr(roco, "BATCH", 1)
    copy = roco.shutil.copyfile

    def fail(source, target):
        copy(source, target)
        if source.name == "d.JPEG":
            target.write_bytes(b"half")
            raise error

    with monkeypatch.context() as patch:
        patch.setattr(roco.shutil, "copyfile", fail)
        with pytest.raises(KeyboardInterrupt if error is KeyboardInterrupt else OSError) as raised:
            prepare_roco(tree, out, "copy")
    if error is not KeyboardInterrupt:
        assert str(raised.value).startswith(f"{out}/d.JPEG could not be written (No space left on device); make room")
    assert images(out) == ["a.jpg", "b.jpg", "c.png"]
    assert prepare_roco(tree, out, "copy") == roco.RocoCounts(made=3, kept=3, unreadable=3)
    prepare_roco(tree, tmp_path / "whole", "copy")
    assert content(out) == content(tmp_path / "whole")


def test_what_a_killed_run_left_is_replaced(tree, tmp_path):
    prepare_roco(tree, tmp_path / "whole", "copy")
    out = tmp_path / "out"
    prepare_roco(tree, out, "copy")
    record = json.loads((out / "roco.json").read_text())
    del record["files"]["a.jpg"]
    (out / "roco.json").write_text(json.dumps(record))
    (out / ".lock").touch()
    (out / ".a.123.partial.jpg").write_bytes(b"half")
    assert prepare_roco(tree, out, "copy").made == 1
    assert content(out) == content(tmp_path / "whole")


def test_the_record_is_written_on_the_way(tree, tmp_path, monkeypatch):
    monkeypatch.setattr(roco, "BATCH", 1)
    monkeypatch.setattr(roco, "SECONDS_BETWEEN_RECORDS", 0)
    seen = []
    write = roco._write_record
    monkeypatch.setattr(roco, "_write_record", lambda *settings: seen.append(len(settings[2])) or write(*settings))
    prepare_roco(tree, tmp_path / "out")
    assert seen == sorted(seen)
    assert len(seen) == 1 + 9 + 1  # at the start, after each file, at the end
    assert seen[0] == 0 and seen[-1] == 6


def test_larger_images_are_shrunk(tmp_path):
    source, out = tmp_path / "set", tmp_path / "out"
    save(source / "wide.jpg", 30, 90)
    save(source / "high.png", 64, 2, colour=True)
    save(source / "colour.jpg", 40, 40, colour=True)
    save(source / "fits.jpg", 32, 20)
    Image.fromarray(np.full((40, 64), 65535, np.uint16)).save(source / "deep.png")
    grey = np.asarray(Image.open(source / "wide.jpg"))
    Image.fromarray(np.stack([grey] * 3, axis=2)).save(source / "coded.jpg")
    prepare_roco(source, out, longest_side=32)
    found = {
        path.name: (Image.open(path).format, Image.open(path).mode, Image.open(path).size) for path in list_images(out)
    }
    assert found == {
        "wide.jpg": ("JPEG", "L", (32, 11)),
        "coded.jpg": ("JPEG", "L", (32, 11)),
        "colour.jpg": ("JPEG", "RGB", (32, 32)),
        "high.png": ("PNG", "RGB", (1, 32)),
        "deep.png": ("PNG", "L", (32, 20)),
        "fits.jpg": ("JPEG", "L", (20, 32)),
    }
    assert [path.name for path in list_images(out) if path.is_symlink()] == ["fits.jpg"]
    assert (read_image(out / "deep.png") == 255).all()


def test_shrinking_averages_fine_patterns():
    checks = (torch.arange(64)[:, None] + torch.arange(64)) % 2 * 255
    small = np.asarray(roco.shrink(checks[None].to(torch.uint8), 16)).astype(int)
    assert small.shape == (16, 16)
    assert np.abs(small[2:-2, 2:-2] - 127).max() <= 3


def test_other_settings_need_force(tree, tmp_path):
    out = tmp_path / "out"
    prepare_roco(tree, out)
    expected = rf"found {out} made from {tree} with mode link, longest side as it is, but asked for {tree} with mode "
    with pytest.raises(ValueError, match=expected + r"copy, longest side 8; choose another folder, or .*--force"):
        prepare_roco(tree, out, "copy", longest_side=8)
    assert (out / "a.jpg").is_symlink()
    assert prepare_roco(tree, out, "copy", longest_side=8, force=True).made == 6
    prepare_roco(tree, tmp_path / "anew", "copy", longest_side=8)
    assert content(out) == content(tmp_path / "anew")
    assert Image.open(tree / "all_data/train/radiology/images/a.jpg").size == (16, 12)  # not written through the link


@pytest.mark.parametrize("record", ["{", "[]", '{"settings": {}}'])
def test_a_damaged_record_needs_force(tree, tmp_path, record):
    prepare_roco(tree, tmp_path / "out")
    (tmp_path / "out/roco.json").write_text(record)
    with pytest.raises(ValueError, match=r"found a damaged record .*roco.json, .*--force"):
        prepare_roco(tree, tmp_path / "out")
    assert prepare_roco(tree, tmp_path / "out", force=True).made == 6


def test_images_of_someone_else_need_force(tree, tmp_path):
    save(tmp_path / "out/mine.jpg")
    with pytest.raises(ValueError, match=r"found images but no roco.json in .*, expected an empty folder; .*--force"):
        prepare_roco(tree, tmp_path / "out")
    assert images(tmp_path / "out") == ["mine.jpg"]
    prepare_roco(tree, tmp_path / "out", force=True)
    assert "mine.jpg" in images(tmp_path / "out")


def test_much_damage_is_a_warning(tmp_path, caplog):
    for number in range(40):
        save(tmp_path / f"set/{number}.jpg")
    warning = "WARNING: found 3 of 40 images unreadable (7.5 %), expected at most 5 %; fetch those in "
    for damaged in (1, 2, 3):
        (tmp_path / f"set/{damaged}.jpg").write_bytes(b"")
        assert prepare_roco(tmp_path / "set", tmp_path / "out").unreadable == damaged
        assert (warning in caplog.text) == ("WARNING" in caplog.text) == (damaged == 3)


def test_folders_that_cannot_be_used_are_one_sentence(tree, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"found no folder .*absent, expected the unpacked ROCO data set; give"):
        prepare_roco(tmp_path / "absent", tmp_path / "out")
    for source, out in ((tree, tree), (tree, tree / "all_data/out"), (tree / "all_data", tree)):
        with pytest.raises(ValueError, match=r"one inside the other, expected two folders apart; move one"):
            prepare_roco(source, out)
    (tmp_path / "fresh/train/radiology/images").mkdir(parents=True)
    for source in (tmp_path / "fresh", tmp_path / "fresh/train/radiology/images"):
        with pytest.raises(ValueError, match=r"found no image in .*, expected .*; fetch ROCO's images first or give"):
            prepare_roco(source, tmp_path / "out")
    (tmp_path / "file").touch()
    for out in (tmp_path / "file", tmp_path / "file/out"):
        with pytest.raises(OSError, match=r"file.* cannot be written \(.*\); make room or give another folder"):
            prepare_roco(tree, out)
    assert not (tmp_path / "out").exists()


class Deadly:
    """Ends the process that unpickles it."""

    def __call__(self):
        """To be taken for a function."""

    def __reduce__(self):
        return os._exit, (1,)


def test_processes_make_what_one_makes(tree, training, tmp_path, monkeypatch):
    monkeypatch.setattr(roco, "PARALLEL_FROM", 2)
    monkeypatch.setattr(roco, "BATCH", 2)
    prepare_roco(tree, tmp_path / "two", "copy", longest_side=8, workers=2)
    prepare_roco(tree, tmp_path / "one", "copy", longest_side=8)
    assert content(tmp_path / "one") == content(tmp_path / "two")

    monkeypatch.setattr(roco, "_make_batch", Deadly())
    started = time.monotonic()
    with pytest.raises(OSError, match=r"^a worker process ended in the middle of its work \(status 1\); run again"):
        prepare_roco(tree, tmp_path / "three", workers=2)
    assert time.monotonic() - started < 30


def test_names_that_are_not_utf8_are_read_or_listed(tree, training, tmp_path):
    for name, content in ((b"caf\xe9.jpg", (training / "a.jpg").read_bytes()), (b"cass\xe9.jpg", b"")):
        (training / os.fsdecode(name)).write_bytes(content)
    for made in (7, 0):
        assert prepare_roco(tree, tmp_path / "out") == (made, 7 - made, 4)
    assert (tmp_path / "out" / os.fsdecode(b"caf\xe9.jpg")).read_bytes() == (training / "a.jpg").read_bytes()
    assert b"cass\xe9.jpg\tempty file\n" in (tmp_path / "out/unreadable.txt").read_bytes()


def test_a_second_preparation_of_a_folder_is_refused(tree, tmp_path):
    with locked(tmp_path / "out"), pytest.raises(OSError, match=rf"^process {os.getpid()} on .* works in .*out; wait"):
        prepare_roco(tree, tmp_path / "out", force=True)
    assert prepare_roco(tree, tmp_path / "out").made == 6
