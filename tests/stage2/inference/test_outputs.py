"""Masks keep the header of their query; records survive."""

import csv
import math

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from Stage2.evaluation.metrics import METRICS, Metric, compute_metrics
from Stage2.inference.outputs import Outputs, ResultsTable, read_record, write_record
from Stage2.io.scans import ScanFile


def test_a_mask_has_the_header_of_its_query(tmp_path):
    affine = np.array([[0, 0, 2.5, -7], [-1.5, 0, 0, 20], [0, 1.5, 0, 3], [0, 0, 0, 1.0]])
    scan = nibabel.Nifti1Image(np.arange(60, dtype=np.int16).reshape(3, 4, 5), affine)
    scan.header.set_sform(affine, 2)
    scan.header.set_qform(affine, 1)
    scan.header.set_xyzt_units("mm", "sec")
    scan.header["descrip"] = b"T2, breath hold"
    scan.header.set_slope_inter(0.5, 10)
    nibabel.save(scan, tmp_path / "q.nii.gz")
    query = ScanFile(tmp_path / "q.nii.gz")
    outputs = Outputs(tmp_path, query)
    voxels = np.arange(60, dtype=np.uint16).reshape(5, 4, 3)
    outputs.write_volume(outputs.mask, voxels, query.read())
    mask = nibabel.load(tmp_path / "q_mask.nii.gz")
    np.testing.assert_array_equal(np.asanyarray(mask.dataobj).T, voxels)
    assert mask.get_data_dtype() == np.uint16
    np.testing.assert_allclose(mask.affine, affine, atol=1e-6)
    for form in ("get_sform", "get_qform"):
        ours, theirs = (getattr(image, form)(coded=True) for image in (mask, scan))
        np.testing.assert_allclose(ours[0], theirs[0], atol=1e-6)
        assert ours[1] == theirs[1]
    assert mask.header.get_xyzt_units() == ("mm", "sec")
    assert mask.header["descrip"].item() == b"T2, breath hold"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["q.nii.gz", "q_mask.nii.gz"]
    assert sitk.ReadImage(str(outputs.mask)).GetDirection() == pytest.approx(query.read().GetDirection())


def test_records_and_the_table(tmp_path):
    found = {"name": "RK", "volume_ml": 1.5, "confidence": 0.7, "dice": math.nan}
    record = {"query": "a", "files": [], "labels": {2: found}}
    write_record(tmp_path / "a.json", record)
    assert read_record(tmp_path / "a.json")["labels"]["2"]["dice"] is None
    (tmp_path / "cut.json").write_text('{"query": ')
    assert read_record(tmp_path / "cut.json") is None
    table, records = ResultsTable(tmp_path / "t.csv"), [record, {"query": "b", "error": "no, contrast"}]
    for own in records:
        table.add(own)
    as_they_came = table.path.read_text()
    table.rewrite(reversed(records))
    assert table.path.read_text() != as_they_came
    table.rewrite(records)
    assert table.path.read_text() == as_they_came
    with (tmp_path / "t.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [rows[0][key] for key in ("query", "label", "name", "volume_ml", "confidence", "dice", "error")] == [
        *("a", "2", "RK", "1.5", "0.7", "", "")
    ]
    assert (rows[1]["query"], rows[1]["error"], rows[1]["label"]) == ("b", "no, contrast", "")


def test_a_metric_of_ones_own_is_in_the_table_and_in_the_record(tmp_path, monkeypatch):
    monkeypatch.setitem(METRICS, "clarity", Metric("clarity", lambda masks: 0.25))
    found = compute_metrics(np.ones((1, 2, 2)), np.ones((1, 2, 2)), (1.0, 1.0, 1.0))
    record = {"query": "=a", "files": [], "labels": {2: {"name": "-RK", **found}}}
    write_record(tmp_path / "a.json", record)
    assert read_record(tmp_path / "a.json")["labels"]["2"]["clarity"] == 0.25
    ResultsTable(tmp_path / "t.csv").add(record)
    with (tmp_path / "t.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["clarity"], row["dice"]) == ("0.25", "1.0")
    assert (row["query"], row["name"]) == ("'=a", "'-RK")  # no formulas
