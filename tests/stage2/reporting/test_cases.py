"""The slices that figures show are the right ones, the right way up, with the right masks."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from stage2.reporting.drawn_cohort import write_cohort, write_tested, write_volume

from Stage2.reporting.cases import (
    best_median_worst,
    case_panel,
    organ_row,
    read_slice,
    superpixel_rows,
    volume_panels,
)
from Stage2.reporting.runs import open_tested_run


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Path:
    return write_cohort(tmp_path_factory.mktemp("data"))


def run_of(folder: Path, dice: dict[str, float | None], **changes):
    write_tested(folder, dice, changes.pop("support", [3, 6, 9]), **changes)
    return open_tested_run(folder)


def test_the_row_shows_the_largest_slice_of_the_best_scan(cohort: Path, tmp_path: Path):
    """Slice 8 lies in the last third: the support slice is the third one."""
    methods = {
        "before": [run_of(tmp_path / "before", {"1": 0.9, "2": 0.1})],
        "after": [run_of(tmp_path / "after", {"1": 0.2, "2": 0.7})],
    }
    support, before, after, truth = organ_row(cohort, methods, "RK", None)
    assert [panel.text for panel in (support, before, after, truth)] == [
        "scan 3, slice 9", "Dice of the scan 0.10", "Dice of the scan 0.70", "scan 2, slice 8",
    ]  # fmt: skip
    assert support.drawn.sum() == 16
    assert truth.drawn.sum() == 64
    assert after.predicted.sum() == 16
    assert after.drawn is None
    np.testing.assert_array_equal(organ_row(cohort, methods, "RK", None, outline=True)[2].drawn, truth.drawn)
    np.testing.assert_array_equal(after.image, read_slice(cohort / "image_2.nii.gz", 8))
    assert organ_row(cohort, methods, "RK", "1")[1].text == "Dice of the scan 0.90"
    with pytest.raises(ValueError, match="scan 9 was not tested for RK; choose one of 1, 2"):
        organ_row(cohort, methods, "RK", "9")


def test_a_method_may_be_several_runs_and_need_not_have_every_organ(cohort: Path, tmp_path: Path):
    """Two folds of the same method: the row finds the scan in the one that tested it."""
    methods = {
        "other": [run_of(tmp_path / "liver", {"1": 0.5}, name="LIVER", label=1)],
        "ours": [run_of(tmp_path / "fold0", {"1": 0.4}), run_of(tmp_path / "fold1", {"2": 0.9})],
    }
    _, other, ours, truth = organ_row(cohort, methods, "RK", None)
    assert (other.text, other.predicted) == ("not tested", None)
    assert (ours.text, truth.text) == ("Dice of the scan 0.90", "scan 2, slice 8")


def test_runs_with_other_supports_are_refused(cohort: Path, tmp_path: Path):
    methods = {
        "a": [run_of(tmp_path / "a", {"1": 0.1})],
        "b": [run_of(tmp_path / "b", {"1": 0.5}, support=[2, 6, 9])],
    }
    with pytest.raises(ValueError, match="draw tests of one setting"):
        organ_row(cohort, methods, "RK", None)


def test_labels_stored_as_other_values_are_drawn(tmp_path: Path):
    cohort = write_cohort(tmp_path / "data")
    expected = organ_row(cohort, {"mine": [run_of(tmp_path / "mine", {"1": 0.5})]}, "RK", None)
    for scan in (1, 2, 3):
        path = cohort / f"label_{scan}.nii.gz"
        label = sitk.GetArrayFromImage(sitk.ReadImage(str(path))).astype(np.int16)
        label[label > 0] = 500
        label[:, 5, 5] = np.where(label[:, 5, 5] > 0, 205, 0)  # two values, one label
        write_volume(path, label)
    results = tmp_path / "mine" / "1" / "results.json"
    stored = {"label_values": {"0": 0, "500": 2, "205": 2, "2": 1}}
    results.write_text(json.dumps(json.loads(results.read_text()) | stored))
    found = organ_row(cohort, {"mine": [open_tested_run(tmp_path / "mine")]}, "RK", None)
    for own, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(own.drawn, other.drawn)
        assert own.text == other.text


@pytest.mark.parametrize("direction", [(1, 1), (1, -1), (-1, 1), (-1, -1)])
def test_slices_are_shown_front_up_with_the_right_side_on_the_left(tmp_path: Path, direction):
    """Directions are SimpleITK's: positive means towards the patient's left and back."""
    upright = np.arange(12, dtype=np.float32).reshape(1, 3, 4)
    stored = np.ascontiguousarray(upright[:, :: direction[1], :: direction[0]])
    write_volume(tmp_path / "image_1.nii.gz", stored, direction)
    np.testing.assert_array_equal(read_slice(tmp_path / "image_1.nii.gz", 0), upright[0])


def test_best_median_and_worst_cases(cohort: Path, tmp_path: Path):
    runs = [run_of(tmp_path / "a", {"1": 0.3, "2": None}), run_of(tmp_path / "b", {"1": 0.9, "2": 0.1, "3": 0.2})]
    cases = best_median_worst(runs, "RK")
    assert {title: (case.run.experiment, case.entry["scan"]) for title, case in cases.items()} == {
        "best": ("b", "1"), "median": ("b", "3"), "worst": ("b", "2"),
    }  # fmt: skip
    panel = case_panel(cohort, cases["best"])
    assert panel.text == "Dice 0.90: fold 0, scan 1, slice 8"
    assert (panel.drawn.sum(), panel.predicted.sum()) == (64, 16)
    assert best_median_worst([runs[0]], "LK") == {}


def test_a_volume_has_a_panel_per_slice_with_a_number_per_class(cohort: Path, tmp_path: Path):
    run = run_of(tmp_path / "a", {"1": 0.3})
    panels = volume_panels(cohort, run, "1")
    assert [panel.text for panel in panels] == [f"slice {z}" for z in range(12)]
    assert [int((panel.drawn == 1).sum()) for panel in panels] == [0, 0, 16, 16, 16, 16, 16, 16, 64, 16, 16, 0]
    assert all((panel.predicted == 1).sum() == 16 for panel in panels)
    assert len({panel.window for panel in panels}) == 1  # slices of one film compare
    with pytest.raises(ValueError, match=r"scan 2 was not tested in .*; choose one of 1"):
        volume_panels(cohort, run, "2")


def test_superpixels_of_chosen_or_evenly_spaced_slices(cohort: Path, tmp_path: Path):
    rows = superpixel_rows(cohort, "1", "MIDDLE", None, 3)
    assert list(rows) == ["slice 2", "slice 6", "slice 9"]
    image, superpixels, label = rows["slice 6"]
    np.testing.assert_array_equal(np.unique(superpixels), [0, 1, 2])
    assert (label == 2).sum() == 16
    np.testing.assert_array_equal(image, read_slice(cohort / "image_1.nii.gz", 6))
    assert list(superpixel_rows(cohort, "1", "MIDDLE", [0], 3)) == ["slice 0"]
    with pytest.raises(ValueError, match="scan 1 has no slice 12; choose 0 to 11"):
        superpixel_rows(cohort, "1", "MIDDLE", [3, 12], 3)
    with pytest.raises(FileNotFoundError, match=r"superpix-SMALL_1\.nii\.gz is missing; make the superpixels with"):
        superpixel_rows(cohort, "1", "SMALL", None, 3)


def test_results_without_a_support_are_one_sentence(cohort: Path, tmp_path: Path):
    run = run_of(tmp_path / "old", {"1": 0.1})
    del run.results["support"]
    with pytest.raises(ValueError, match="does not tell the support of RK; test this experiment again"):
        organ_row(cohort, {"old": [run]}, "RK", None)


def test_adnets_support_slice_is_that_of_the_chunk(tmp_path: Path):
    """Of slices 2, 7, 8, 9, 10 slice 8 lies in the second chunk, though in the last third of the range."""
    data = write_cohort(tmp_path / "data")
    label = sitk.GetArrayFromImage(sitk.ReadImage(str(data / "label_2.nii.gz")))
    label[3:7] = 0
    write_volume(data / "label_2.nii.gz", label)
    run = run_of(tmp_path / "mine", {"2": 0.5})
    assert organ_row(data, {"mine": [run]}, "RK", None)[0].text == "scan 3, slice 9"
    other = replace(run, results={**run.results, "protocol": "adnet"})
    assert organ_row(data, {"mine": [other]}, "RK", None)[0].text == "scan 3, slice 6"


def test_a_test_of_every_support_has_no_masks_to_draw(cohort: Path, tmp_path: Path):
    run = run_of(tmp_path / "mine", {"1": 0.5})
    every = replace(run, results={**run.results, "support_idx": "all"})
    for draw in (lambda: organ_row(cohort, {"mine": [every]}, "RK", None), lambda: volume_panels(cohort, every, "1")):
        with pytest.raises(ValueError, match=r"tried every support in turn, .* draw a test of one support"):
            draw()
