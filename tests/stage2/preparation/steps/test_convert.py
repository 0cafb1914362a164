"""A prepared folder and its manifest: whole, resumable, and never of two settings or sources."""

import hashlib
import json
import shutil
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from stage2.preparation.drawn_archives import digest, draw_abdomen, write_sabs, write_volume, zip_folder

from Stage2.preparation.raw.sabs import list_sabs_scans
from Stage2.preparation.raw.scan import RawScan
from Stage2.preparation.raw.source import open_source
from Stage2.preparation.steps.convert import make_folder, plan_folder
from Stage2.preparation.steps.transform import SABS_TRANSFORM, VolumeTransform, normalise_scan

TRANSFORM = VolumeTransform(window=(-125, 275), spacing=(3, 3, None))
NUMBERS = (1, 2, 21)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return write_sabs(tmp_path / "down", NUMBERS, side=32)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "made" / "sabs"


def run(source: Path, out: Path, transform: VolumeTransform = TRANSFORM, *, workers: int = 1, **options) -> list[str]:
    """Ids of the scans that were made."""
    plan = plan_folder(list_sabs_scans(open_source(source)), out, "SABS", transform, **options)
    assert make_folder(plan, workers=workers) == len(plan.to_make)
    return [scan.id for scan in plan.to_make]


def stamps(folder: Path) -> dict[str, tuple[int, int]]:
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in folder.iterdir()}


def image(tree: Path, number: int = 2) -> Path:
    return tree / f"RawData/Training/img/img{number:04d}.nii.gz"


def test_a_folder_holds_the_scans_and_a_manifest_and_a_second_run_touches_nothing(tree, out):
    assert run(tree, out) == ["0", "1", "2"]
    names = [f"{kind}_{scan}.nii.gz" for kind in ("image", "label") for scan in "012"]
    assert sorted(path.name for path in out.iterdir()) == [*names, "manifest.json"]
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["data_set"] == "SABS" and manifest["source"] == str(tree)
    assert manifest["parameters"] == {"step": "normalise", **TRANSFORM.parameters()}
    entry = manifest["scans"]["1"]
    assert entry["versions"]["SimpleITK"] == version("SimpleITK")
    assert entry["outputs"] == ["image_1.nii.gz", "label_1.nii.gz"]
    assert {name: source["sha256"] for name, source in entry["sources"].items()} == {
        path.relative_to(tree).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (image(tree), tree / "RawData/Training/label/label0002.nii.gz")
    }
    before = stamps(out)
    assert run(tree, out) == []
    assert stamps(out) == before


def test_archive_copy_and_number_of_processes_do_not_matter(tree, out, tmp_path):
    archive = zip_folder(tree, tmp_path / "RawData.zip")
    run(tree, out)
    run(archive, tmp_path / "other", workers=2)
    assert digest(out) == digest(tmp_path / "other")
    copy = tmp_path / "copy"
    shutil.copytree(tree, copy, copy_function=shutil.copyfile)  # other times of change
    for source in (copy, archive):
        assert run(source, out) == []


def test_an_interrupted_run_goes_on(tree, out, tmp_path):
    run(tree, tmp_path / "whole")
    damaged = image(tree, 21)
    content = damaged.read_bytes()
    damaged.write_bytes(content[:-20])
    with pytest.raises(ValueError, match=r"img0021\.nii\.gz is truncated"):
        run(tree, out)
    assert sorted(json.loads((out / "manifest.json").read_text())["scans"]) == ["0", "1"]
    assert not [path.name for path in out.iterdir() if path.name.startswith(".") or "_2" in path.name]
    damaged.write_bytes(content)
    (out / "label_0.nii.gz").unlink()
    (out / ".image_2.123.partial.nii.gz").write_bytes(b"of a process that was killed")
    assert run(tree, out) == ["0", "2"]
    assert not list(out.glob(".*"))
    assert digest(out) == digest(tmp_path / "whole")


def test_new_scans_are_added_where_numbers_stay(tree, out):
    run(tree, out)
    write_sabs(tree, (40,), side=32)
    assert run(tree, out) == ["3"]


def test_scans_of_other_program_versions_are_told_of(tree, out, caplog):
    run(tree, out)
    run(tree, out)
    assert caplog.text == ""
    path = out / "manifest.json"
    path.write_text(path.read_text().replace(f'"SimpleITK": "{version("SimpleITK")}"', '"SimpleITK": "1.2.4"', 1))
    assert run(tree, out) == []
    assert "scans were made by SimpleITK 1.2.4, now of another version; --force" in caplog.text


def touch_pixels(tree: Path) -> None:
    write_volume(image(tree), draw_abdomen(9, 32, 2)[0] - np.int16(200))


def drop_first(tree: Path) -> None:
    """Scans are numbered in the order of their names, so that all others get other numbers."""
    write_sabs(tree, (0,), side=32)


CHANGES = {
    "another transform": (
        None,
        {"transform": VolumeTransform(window=(-100, 275), spacing=(3, 3, None))},
        r"was made with window \[-125, 275\], but asked for is \[-100, 275\]; write to another folder, or .*--force",
    ),
    "another step": (None, {"converted_only": True}, "was made with step normalise, but asked for is convert"),
    "a changed file": (touch_pixels, {}, r"scan 1 was made from other files \(.*img0002\.nii\.gz has changed\)"),
    "other numbers": (drop_first, {}, r"scan 0 was made from other files \(.*img0000\.nii\.gz is new\)"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_folder_made_otherwise_is_refused_unless_forced(tree, out, name):
    change, options, message = CHANGES[name]
    run(tree, out)
    if change is not None:
        change(tree)
    before = stamps(out)
    with pytest.raises(ValueError, match=message):
        run(tree, out, **options)
    assert stamps(out) == before
    assert run(tree, out, **options, force=True)[:3] == ["0", "1", "2"]
    assert run(tree, out, **options) == []


@pytest.mark.parametrize("content", ["{", "[]", '{"format": 1}', '{"kind": "mr", "count": 3}'])
def test_a_manifest_of_another_program(tree, out, content):
    run(tree, out)
    (out / "manifest.json").write_text(content)
    with pytest.raises(ValueError, match=r"manifest\.json is not what this command writes"):
        run(tree, out)


def test_a_manifest_of_a_later_format(tree, out):
    run(tree, out)
    path = out / "manifest.json"
    path.write_text(path.read_text().replace('"format": 1', '"format": 99'))
    with pytest.raises(ValueError, match="format 99"):
        run(tree, out)


def test_scans_of_unknown_origin_are_not_mixed_in(tree, out):
    out.mkdir(parents=True)
    (out / "image_1.nii.gz").write_bytes(b"mine")
    with pytest.raises(ValueError, match=r"holds image_1\.nii\.gz but no manifest\.json"):
        run(tree, out)
    (out / "image_1.nii.gz").rename(out / "image_77.nii.gz")
    with pytest.raises(ValueError, match=r"holds image_77\.nii\.gz, a scan that .*down does not have"):
        run(tree, out, force=True)
    assert [path.name for path in out.iterdir()] == ["image_77.nii.gz"]


@pytest.mark.parametrize("place", ["", "RawData/new"])
def test_the_source_is_not_written_to(tree, place):
    with pytest.raises(ValueError, match=r"lies in .*down, which is only read"):
        run(tree, tree / place)


def test_an_image_without_contrast_is_named_by_its_scan(tree, out):
    write_volume(image(tree), np.full((2, 32, 32), 40, np.int16))
    with pytest.raises(ValueError, match=r"scan 1 \(.*img0002\.nii\.gz\): all voxels are 40"):
        run(tree, out)


def test_slices_that_do_not_become_256_x_256_are_named(tree, out):
    write_sabs(tree, NUMBERS, side=300)
    with pytest.raises(ValueError, match=r"scan 0.*slices of 300 x 300 pixels become 135 x 135.*border 32"):
        run(tree, out, VolumeTransform(window=(-125, 275), border=32, coarsening=1.75, centre=False))


def test_a_scan_without_label(tmp_path, out):
    write_volume(tmp_path / "raw/1.nii.gz", draw_abdomen(side=32)[0] - np.int16(200))
    scan = RawScan("5", open_source(tmp_path / "raw"), ("1.nii.gz",), read_without_label)
    make_folder(plan_folder([scan], out, "mine", TRANSFORM))
    assert sorted(path.name for path in out.iterdir()) == ["image_5.nii.gz", "manifest.json"]


def test_a_label_that_a_data_set_has_no_more_does_not_stay(tmp_path, out):
    write_volume(tmp_path / "raw/1.nii.gz", draw_abdomen(side=32)[0] - np.int16(200))
    for reader in (read_with_label, read_without_label):
        scan = RawScan("5", open_source(tmp_path / "raw"), ("1.nii.gz",), reader)
        make_folder(plan_folder([scan], out, "mine", TRANSFORM, force=True))
    assert sorted(path.name for path in out.iterdir()) == ["image_5.nii.gz", "manifest.json"]


def read_with_label(paths):
    image = sitk.ReadImage(str(paths["1.nii.gz"]))
    return image, image > 0


def read_without_label(paths):
    return sitk.ReadImage(str(paths["1.nii.gz"])), None


def test_the_blank_last_slice_is_an_option():
    image, label = (sitk.GetImageFromArray(voxels) for voxels in draw_abdomen(side=512, depth=3))
    for drop, slices in ((False, 4), (True, 3)):
        transform = VolumeTransform(**{**SABS_TRANSFORM.parameters(), "drop_blank_slice": drop})
        done = normalise_scan(image, label, transform)
        assert [volume.GetSize() for volume in done] == [(257, 257, slices)] * 2
        assert done[0].GetPixelID() == sitk.sitkFloat32
