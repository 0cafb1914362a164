"""The comparison "one annotated scan": it measures what it says, and goes on after a kill."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from stage2.drawn import dice, drawn_scan
from tool_modules import load_tool

from Stage2.adaptation.settings import AdaptationSettings
from Stage2.benchmarks import one_scan
from Stage2.benchmarks.one_scan import OneScan, annotate_slices, run_one_scan
from Stage2.benchmarks.one_scan_records import KEY, RECORDS, Records, read_all, read_records
from Stage2.benchmarks.one_scan_table import as_text
from Stage2.benchmarks.registration import move_mask
from Stage2.datasets.catalog import get_dataset

ROOT = Path(__file__).resolve().parents[3]
DATA_SET = replace(get_dataset("CHAOST2"), name="drawn", fold_boundaries=(0, 2, 3, 4))
SPACING = (0.78, 0.62, 7.7)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Four drawn scans of two organs, 256 x 256 x 5."""
    place = tmp_path_factory.mktemp("drawn")
    for number in range(4):
        images = drawn_scan((256, 256, 5), SPACING, shift=number)
        for kind, image in zip(("image", "label"), images, strict=True):
            sitk.WriteImage(image, str(place / f"{kind}_{number}.nii.gz"))
    return place


def comparison(folder, **changes) -> OneScan:
    budgets = [AdaptationSettings(minutes=None, steps=1)]
    given = {"starts": {"random": "random"}, "budgets": budgets, "labels": (2, 3), "folds": [0], **changes}
    return OneScan(folder, DATA_SET, **given)


def stub(monkeypatch, events: list) -> None:
    """In place of adapting: the support's mask for every query; what happens is noted."""

    def by_adapting(annotated, start, own):
        events.append(("adapt", start, own.steps, own.seed, [name for name, _ in annotated.others]))
        voxels = sitk.GetArrayFromImage(annotated.support.mask)

        def segment(query, name):
            events.append(("segment", name[-8]))
            return voxels, {2: 0.9, 3: 0.4}

        return segment

    def read_labels(place, scan_id, image, data_set):
        events.append(("label", scan_id))
        return plain(place, scan_id, image, data_set)

    plain = one_scan.read_labels
    monkeypatch.setattr(one_scan, "by_adapting", by_adapting)
    monkeypatch.setattr(one_scan, "read_labels", read_labels)


def test_values_are_those_of_whole_volumes_and_labels_are_read_last(folder, tmp_path, monkeypatch):
    events = []
    stub(monkeypatch, events)
    run_one_scan(comparison(folder, unlabelled=True), tmp_path)
    assert events == [
        ("label", "2"), ("adapt", "random", 1, 0, ["0", "1"]),
        ("segment", "0"), ("label", "0"), ("segment", "1"), ("label", "1"),
    ]  # fmt: skip
    records = list(read_records(tmp_path).values())
    assert [(own["scan"], own["label"], own["organ"]) for own in records] == [
        ("0", 2, "RK"), ("0", 3, "LK"), ("1", 2, "RK"), ("1", 3, "LK"),
    ]  # fmt: skip
    support, query = (
        sitk.GetArrayFromImage(sitk.ReadImage(str(folder / f"label_{number}.nii.gz"))) for number in (2, 0)
    )
    assert records[0]["dice"] == pytest.approx(dice(support == 2, query == 2))
    assert records[0]["confidence"] == 0.9 and records[0]["hd95_mm"] >= 0


def test_a_killed_run_goes_on_where_it_stopped(folder, tmp_path, monkeypatch):
    events = []
    stub(monkeypatch, events)

    def killed(*arguments):
        if ("segment", "1") in events:
            raise KeyboardInterrupt
        return metrics(*arguments)

    metrics = one_scan.compute_metrics
    monkeypatch.setattr(one_scan, "compute_metrics", killed)
    with pytest.raises(KeyboardInterrupt):
        run_one_scan(comparison(folder), tmp_path)
    monkeypatch.setattr(one_scan, "compute_metrics", metrics)
    with (tmp_path / RECORDS).open("a") as file:
        file.write('{"dataset": "dra')  # a line that was cut
    assert [own["scan"] for own in read_all([tmp_path])] == ["0", "0"]

    events.clear()
    run_one_scan(comparison(folder), tmp_path)
    assert [event for event in events if event[0] == "segment"] == [("segment", "1")]
    assert [own["scan"] for own in read_all([tmp_path])] == ["0", "0", "1", "1"]

    events.clear()
    lines = []
    run_one_scan(comparison(folder), tmp_path, lines.append)
    assert events == [("label", "2")] and "already measured" in lines[0]


@pytest.mark.parametrize("change", [{"seeds": (5,)}, {"labels": (2,)}, {"slices": 3}, {"unlabelled": True},
                                    {"starts": {"other": "random"}}])  # fmt: skip
def test_what_differs_is_measured_anew(folder, tmp_path, monkeypatch, change):
    events = []
    stub(monkeypatch, events)
    run_one_scan(comparison(folder), tmp_path)
    run_one_scan(comparison(folder, **change), tmp_path)
    assert sum(event[0] == "adapt" for event in events) == 2


def test_another_file_of_the_same_start_is_measured_anew(folder, tmp_path, monkeypatch):
    events = []
    stub(monkeypatch, events)
    start = tmp_path / "start.pth"
    for content in (b"one", b"one", b"two"):
        start.write_bytes(content)
        run_one_scan(comparison(folder, starts={"mine": str(start)}), tmp_path / "out")
    assert sum(event[0] == "adapt" for event in events) == 2
    assert "mine (" in as_text(read_all([tmp_path / "out"]))


@pytest.mark.parametrize("changed", [{"files": "new"}, {"support": "9"}], ids=["files", "support"])
def test_values_of_scans_that_changed_make_no_table(tmp_path, changed):
    record = dict.fromkeys(KEY, 0) | {"files": "old", "support": "1", "start": "mine"}
    for folder, own in (("a", record), ("b", record | {"seed": 1}), ("c", record | changed)):
        Records(tmp_path / folder).add([own])
    assert len(read_all([tmp_path / "a", tmp_path / "b", tmp_path / "a"])) == 2
    with pytest.raises(ValueError, match="scan 0 in fold 0 by mine twice"):
        read_all([tmp_path / "a", tmp_path / "c"])


def test_the_support_lacks_an_organ(folder, tmp_path, monkeypatch):
    events, lines = [], []
    stub(monkeypatch, events)
    run_one_scan(comparison(folder, labels=(1, 2)), tmp_path, lines.append)
    assert "lacks LIVER" in lines[0]
    assert {own["label"] for own in read_all([tmp_path])} == {2}


def test_what_does_not_go_together_is_refused(folder):
    with pytest.raises(ValueError, match="no class 9"):
        comparison(folder, labels=(9,))
    with pytest.raises(ValueError, match="whole mask"):
        comparison(folder, registration=True, slices=3)
    with pytest.raises(ValueError, match="another name"):
        comparison(folder, starts={"registration": "random"})
    with pytest.raises(ValueError, match="slices 0"):
        comparison(folder, slices=0)


def test_a_damaged_line_is_named(tmp_path):
    (tmp_path / RECORDS).write_text('{"dataset": 1}\n')
    with pytest.raises(ValueError, match="line 1"):
        Records(tmp_path)
    with pytest.raises(FileNotFoundError, match="is missing"):
        read_all([tmp_path / "absent"])


def test_every_organ_is_annotated_in_slices_of_its_own():
    voxels = np.zeros((9, 2, 2), dtype=np.uint8)
    voxels[1:7, 0], voxels[4:, 1] = 1, 2
    kept = sitk.GetArrayFromImage(annotate_slices(sitk.GetImageFromArray(voxels), [1, 2], 3))
    assert np.flatnonzero((kept == 1).any(axis=(1, 2))).tolist() == [2, 4, 6]
    assert np.flatnonzero((kept == 2).any(axis=(1, 2))).tolist() == [4, 6, 8]
    assert np.array_equal(kept[kept > 0], voxels[kept > 0])


def test_the_command_measures_and_tells(folder, tmp_path, snapshot, monkeypatch, capsys):
    benchmark = load_tool("benchmark")
    monkeypatch.setattr("Stage2.datasets.catalog.get_dataset", lambda name: DATA_SET)
    command = ["one_scan", "--data", str(folder), "--folds", "1", "--seeds", "0", "--starts", "random", "--steps", "1",
               "--labels", "2,3", "--slices", "3", "--snapshot", str(snapshot), "--out", str(tmp_path),
               "--threads", str(torch.get_num_threads())]  # fmt: skip
    threads = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    try:
        assert benchmark.main(command) == 0
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)
    told = capsys.readouterr().out
    assert "fold 1, start random, 1 steps, seed 0: mean Dice" in told and "prototypes (" in told
    records = read_all([tmp_path])
    assert len(records) == 4 and all(0 <= own["confidence"] <= 1 for own in records)
    assert all(own["adaptation_cpu_seconds"] > 0 and own["query_cpu_seconds"] > 0 for own in records)
    tables = (tmp_path / "one_scan.md").read_text()
    assert tables in told
    assert benchmark.main(["one_scan", "--only-table", "--out", str(tmp_path), str(tmp_path)]) == 0
    assert tables in capsys.readouterr().out
    assert benchmark.main(["one_scan", "--out", str(tmp_path), str(tmp_path)]) == 1


# --- registration ---


def test_registration_recovers_a_moved_scan():
    scan, mask = drawn_scan((100, 80, 16), (2.0, 2.0, 2.4))
    moved = sitk.AffineTransform(3)
    moved.SetCenter(scan.TransformContinuousIndexToPhysicalPoint([50, 40, 8]))
    moved.Rotate(0, 1, 0.12)
    moved.Scale([1.06, 0.95, 1.0])
    moved.Translate([9.0, -7.0, 3.0])
    query = sitk.Resample(scan, scan, moved, sitk.sitkLinear, 5.0)
    query = sitk.Pow(sitk.Clamp(query, lowerBound=1.0), 0.7)  # another contrast
    truth = sitk.GetArrayFromImage(sitk.Resample(mask, scan, moved, sitk.sitkNearestNeighbor, 0.0))
    found = [sitk.GetArrayFromImage(move_mask(scan, mask, query)) for _ in range(2)]
    assert np.array_equal(*found)
    for label in (2, 3):
        assert dice(found[0] == label, truth == label) > 0.93
        assert dice(sitk.GetArrayFromImage(mask) == label, truth == label) < 0.85
