"""Masks keep the header of their query; pages hold what they show; records survive."""

import base64
import csv
import json
import math
import re

import cv2
import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from stage2.drawn import drawn_scan

from Stage2.inference.montage import slices_to_show
from Stage2.inference.outputs import Outputs, read_record, write_record, write_table
from Stage2.inference.page import page_text
from Stage2.inference.pictures import COLOURS, Pictures, outline, overlay, pictures_of, rgb
from Stage2.io.scans import ScanFile

NAMES = {2: "right <kidney>", 3: "left"}


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
    write_table(tmp_path / "t.csv", [record, {"query": "b", "error": "no, contrast"}])
    with (tmp_path / "t.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [rows[0][key] for key in ("query", "label", "name", "volume_ml", "confidence", "dice", "error")] == [
        *("a", "2", "RK", "1.5", "0.7", "", "")
    ]
    assert (rows[1]["query"], rows[1]["error"], rows[1]["label"]) == ("b", "no, contrast", "")


@pytest.fixture(scope="module")
def pictures() -> Pictures:
    scan, mask = drawn_scan((40, 30, 5), (5.0, 5.0, 7.7), axes="RPS")
    return pictures_of(scan, mask, mask, "LAS")


def test_slices_are_shown_as_radiologists_see_them(pictures):
    scan, mask = drawn_scan((40, 30, 5), (5.0, 5.0, 7.7))
    np.testing.assert_array_equal(pictures.labels, sitk.GetArrayFromImage(mask)[:, ::-1])  # front on top, right left
    assert pictures.grey.dtype == np.uint8
    stored = pictures_of(scan, mask, None, "stored")
    np.testing.assert_array_equal(stored.labels, sitk.GetArrayFromImage(mask))
    stretched = pictures_of(*drawn_scan((40, 15, 2), (5.0, 10.0, 7.7)), None, "LAS")
    assert stretched.grey.shape == (2, 30, 40)  # square pixels
    assert max(pictures_of(*drawn_scan((900, 30, 1), (1.0, 1.0, 7.7)), None, "LAS").grey.shape) == 384


def test_the_page_holds_all_it_shows_and_nothing_else(pictures):
    text = page_text(pictures, NAMES, "a <b>", ["label"], [["right <kidney>"], ["left"]], {"query": "x & y"}, ["low!"])
    assert not re.search(r"(src|href)\s*=\s*[\"']?https?:|@import|url\(", text)
    assert "<title>a &lt;b&gt;</title>" in text
    assert "x &amp; y" in text and "low!" in text and "right &lt;kidney&gt;" in text
    assert "$" not in text.replace("$(", "").split("<script>")[0]
    data = json.loads(re.search(r"const data = (.*);\n", text).group(1))
    assert len(data["grey"]) == 5
    assert [layer["name"] for layer in data["layers"]] == [*NAMES.values(), "drawn by an expert"]
    for layer, label, colour in zip(data["layers"], NAMES, COLOURS, strict=False):
        for z, content in enumerate(layer["slices"]):
            expected = pictures.labels[z] == label
            if not content:
                assert not expected.any()
                continue
            image = cv2.imdecode(np.frombuffer(base64.b64decode(content), np.uint8), cv2.IMREAD_UNCHANGED)
            np.testing.assert_array_equal(image[..., 3] > 0, expected)
            assert tuple(image[expected][0][2::-1]) == rgb(colour)


def test_outline_and_overlay():
    mask = np.zeros((6, 7), dtype=bool)
    mask[1:5, 0:4] = True
    edge = outline(mask)
    inner = np.zeros_like(mask)
    inner[2:4, 1:3] = True
    np.testing.assert_array_equal(edge, mask & ~inner)
    layer = overlay(mask, "#ff8000")
    assert layer[3, 2].tolist() == [255, 128, 0, 115]
    assert layer[1, 1].tolist() == [255, 128, 0, 255]
    assert not layer[~mask].any()


def test_the_montage_shows_the_slices_that_matter():
    labels = np.zeros((50, 2, 2), dtype=np.uint8)
    assert len(slices_to_show(labels)) == 20
    labels[10:13] = 3
    assert slices_to_show(labels) == [9, 10, 11, 12, 13]
    labels[2:] = 3
    chosen = slices_to_show(labels)
    assert (chosen[0], chosen[-1], len(chosen)) == (1, 49, 20)


