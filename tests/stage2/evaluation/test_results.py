"""What a test run leaves behind: tables, published names, masks on the grid of the image."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk

from Stage2.evaluation.metrics import METRICS, Metric, ScanCounts, compute_metrics
from Stage2.evaluation.protocol import ClassTask, ScanResult
from Stage2.evaluation.results import as_text, published_scalars, summarise, write_masks, write_results


def scores_of(*counts, distances=None):
    """Scores of these pixel counts: in both masks, predicted, in the ground truth."""
    own = ScanCounts(*counts)
    scores = {"dice": own.dice, "precision": own.precision, "recall": own.recall}
    return scores if distances is None else scores | dict(zip(("hd95_mm", "assd_mm"), distances, strict=True))


def task(name, label):
    return ClassTask(name, label, support_slices={"8": [3, 5, 7]}, ranges={})


@pytest.fixture
def results():
    """Two classes, two scans; scan 2 lacks LK."""
    right, left = task("RK", 2), task("LK", 3)
    mask = np.zeros((4, 256, 256), dtype=bool)
    mask[1, 10:20, 30:50] = True
    return [
        ScanResult(right, "1", (1, 2), mask, scores_of(50, 100, 100)),
        ScanResult(left, "1", (0, 3), mask, scores_of(80, 100, 80)),
        ScanResult(right, "2", (1, 2), ~mask, scores_of(0, 0, 40)),
        ScanResult(left, "2", None, None, scores_of()),
    ]


def test_summary(results):
    summary = summarise(results)
    assert summary["support"]["RK"] == [{"scan": "8", "slices": [3, 5, 7]}]
    assert summary["class_means"]["RK"] == {
        "dice": 0.25, "precision": 0.5, "recall": 0.25, "scans": 2, "undefined": 0,
    }  # fmt: skip
    left = summary["class_means"]["LK"]
    assert left["dice"] == pytest.approx(160 / 180)  # the undefined scan is left out, and counted
    assert (left["scans"], left["undefined"]) == (2, 1)
    assert summary["mean"]["dice"] == pytest.approx((0.25 + 160 / 180) / 2)
    rows = {(row["class"], row["scan"]): row for row in summary["scans"]}
    assert rows["LK", "2"] == {
        "class": "LK", "label": 3, "scan": "2", "z_min": None, "z_max": None,
        "dice": None, "precision": None, "recall": None,
    }  # fmt: skip
    assert rows["RK", "2"]["precision"] is None and rows["RK", "2"]["dice"] == 0
    json.dumps(summary, allow_nan=False)


def test_permuted_classes_permute_the_table(results):
    forward, backward = summarise(results), summarise(results[::-1])
    assert forward["class_means"] == backward["class_means"]
    assert forward["mean"]["dice"] == pytest.approx(backward["mean"]["dice"])


def test_published_names(results):
    scalars = published_scalars(results)
    assert scalars["mar_val_batches_classDice"] == [0.25, pytest.approx(160 / 180)]
    assert scalars["mar_val_batches_rawDice"][0] == [0.5, pytest.approx(160 / 180)]
    assert np.isnan(scalars["mar_val_batches_rawDice"][1][1])
    assert scalars["mar_val_al_batches_meanRec"] == pytest.approx((0.25 + 1) / 2)


def test_text_shows_every_class_and_the_mean(results):
    lines = as_text(summarise(results)).splitlines()
    assert [line.split()[0] for line in lines] == ["class", "RK", "LK", "mean"]
    assert lines[1].split()[1:] == ["0.2500", "0.5000", "0.2500"]


def test_masks_lie_on_the_grid_of_the_image(results, tmp_path):
    image = sitk.GetImageFromArray(np.zeros((4, 257, 257), dtype=np.float32))
    image.SetSpacing((1.3, 1.3, 5.0))
    image.SetOrigin((-10, 20, 30))
    image.SetDirection((1, 0, 0, 0, -1, 0, 0, 0, -1))
    sitk.WriteImage(image, str(tmp_path / "image_1.nii.gz"))
    write_masks(tmp_path / "run", tmp_path, results[:2])
    mask = sitk.ReadImage(str(tmp_path / "run" / "interm_preds" / "scan_1_label_2.nii.gz"))
    assert mask.GetPixelID() == sitk.sitkUInt8
    assert mask.GetSize() == (257, 257, 4)
    for own, expected in (
        (mask.GetSpacing(), image.GetSpacing()),
        (mask.GetOrigin(), image.GetOrigin()),
        (mask.GetDirection(), image.GetDirection()),
    ):
        assert own == pytest.approx(expected)
    voxels = sitk.GetArrayFromImage(mask)
    np.testing.assert_array_equal(voxels[:, :256, :256], results[0].mask)
    assert not voxels[:, 256].any() and not voxels[:, :, 256].any()


def test_results_are_written_at_once(tmp_path):
    write_results(tmp_path / "results.json", {"mean": {"dice": 0.5}})
    assert json.loads((tmp_path / "results.json").read_text()) == {"mean": {"dice": 0.5}}
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]


def test_columns_stay_in_line_under_long_class_names():
    row = {"dice": 0.5, "precision": None, "recall": 1.0}
    lines = as_text({"class_means": {"RK": row, "left_atrial_appendage": row}, "mean": row}).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert len({line.index("0.5000") for line in lines[1:]}) == 1


def with_more(results):
    """The same results with scores over all slices, and distances where both masks have a voxel."""
    nan = (math.nan, math.nan)
    near, whole = [(4.0, 1.0), (6.0, 3.0), nan, nan], [(50, 300, 100), (80, 240, 80), (0, 0, 40), (0, 9, 0)]
    return [
        replace(
            result,
            scores=result.scores | {"hd95_mm": own[0], "assd_mm": own[1]},
            whole_scores=scores_of(*counts, distances=(2 * own[0], 5.0)),
        )
        for result, own, counts in zip(results, near, whole, strict=True)
    ]


def test_further_scores_stand_apart_and_change_no_others(results):
    plain, more = summarise(results), summarise(with_more(results))
    assert "full_volume" not in json.dumps(plain) and "hd95_mm" not in json.dumps(plain)
    right = more["class_means"]["RK"]
    assert {name: right[name] for name in plain["class_means"]["RK"]} == plain["class_means"]["RK"]
    assert (right["hd95_mm"], right["assd_mm"], right["undefined_distances"]) == (4.0, 1.0, 1)
    assert right["full_volume"]["dice"] == pytest.approx((2 * 50 / 400 + 0) / 2)
    left = more["class_means"]["LK"]["full_volume"]
    assert left["dice"] == pytest.approx((2 * 80 / 320 + 0) / 2)  # a find in a scan without the organ counts
    assert (left["undefined"], left["undefined_distances"]) == (0, 1)
    assert more["mean"]["hd95_mm"] == 5.0
    assert more["mean"]["full_volume"]["hd95_mm"] == 10.0
    assert more["scans"][2]["hd95_mm"] is None
    assert more["scans"][0]["full_volume"]["precision"] == pytest.approx(50 / 300)
    json.dumps(more, allow_nan=False)


def test_text_keeps_both_regions_apart(results):
    lines = as_text(summarise(with_more(results))).splitlines()
    assert [line.split()[0] for line in lines] == ["in", "class", "RK", "LK", "mean", "in", "class", "RK", "LK", "mean"]
    assert lines[2].split()[1:] == ["0.2500", "0.5000", "0.2500", "4.0000", "1.0000"]
    assert len({len(line) for line in lines if not line.startswith("in ")}) == 1


def test_a_metric_is_one_entry(results, monkeypatch):
    """A metric of one's own, from both masks and the spacing, with an undefined value."""

    def volume_error(masks):
        off = masks.counts.predicted - masks.counts.target
        return abs(off) * math.prod(masks.spacing) / 1000 if masks.counts.target else math.nan

    monkeypatch.setitem(METRICS, "volume_error_ml", Metric("volume error", volume_error, "ml", "lower", 1))
    first, second = np.zeros((2, 4, 5, 6), dtype=bool)
    first[0], second[0, :2] = True, True
    scores = [compute_metrics(*masks, (5.0, 2.0, 2.0)) for masks in ((first, second), (first, first * False))]
    assert scores[0]["volume_error_ml"] == pytest.approx((30 - 12) * 20 / 1000)
    summary = summarise([replace(result, scores=own) for result, own in zip(results, scores * 2, strict=True)])
    assert summary["mean"]["volume_error_ml"] == pytest.approx(0.36)
    assert summary["scans"][1]["volume_error_ml"] is None
    assert "volume error (ml)" in as_text(summary)
    assert set(published_scalars(results)) == {name for metric in METRICS.values() for name in metric.published or ()}
