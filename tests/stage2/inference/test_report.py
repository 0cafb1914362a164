"""Pages hold what they show, whatever the names of it; sheets show the slices that matter."""

import base64
import json
import re
import tracemalloc
from html.parser import HTMLParser

import cv2
import matplotlib.image
import numpy as np
import pytest
import SimpleITK as sitk
from stage2.drawn import drawn_scan

from Stage2.drawing.masks import COLOURS, rgb
from Stage2.evaluation.metrics import METRICS
from Stage2.inference.outputs import Outputs
from Stage2.inference.pictures import Pictures, pictures_of, slices_to_show
from Stage2.inference.report import montage_of, page_text, write_report
from Stage2.io.scans import ScanFile
from Stage2.reporting.tables import Table

NAMES = {2: "right <kidney>", 3: "left"}


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
    table = Table("", "", ["label"], [["right <kidney>"], ["left"]])
    text = page_text(pictures, NAMES, "a <b>", table, {"query": "x & y"}, ["low!"])
    assert not re.search(r"(src|href)\s*=\s*[\"']?https?:|@import|url\(", text)
    assert "<title>a &lt;b&gt;</title>" in text
    assert "x &amp; y" in text and "low!" in text and "right &lt;kidney&gt;" in text
    data = json.loads(re.search(r"const data = (.*);\n", text).group(1))
    assert len(data["grey"]) == 5
    assert [layer["name"] for layer in data["layers"]] == [*NAMES.values(), "drawn by an expert"]
    for layer, label, colour in zip(data["layers"], NAMES, COLOURS, strict=False):
        for z, content in enumerate(layer["slices"]):
            expected = pictures.labels[z] == label
            if not content:
                assert not expected.any()
                continue
            file = base64.b64decode(content.removeprefix("data:image/png;base64,"))
            image = cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_UNCHANGED)
            np.testing.assert_array_equal(image[..., 3] > 0, expected)
            assert tuple(image[expected][0][2::-1]) == rgb(colour)


def test_the_sheet_shows_the_slices_that_matter():
    labels = np.zeros((50, 2, 2), dtype=np.uint8)
    assert len(slices_to_show(labels)) == 24
    labels[10:13] = 3
    assert slices_to_show(labels) == [9, 10, 11, 12, 13]
    labels[2:] = 3
    chosen = slices_to_show(labels)
    assert (chosen[0], chosen[-1], len(chosen)) == (1, 49, 24)


class Elements(HTMLParser):
    """The elements of a page, and the text of its script."""

    def __init__(self):
        super().__init__()
        self.found, self.script, self.inside = [], "", ""

    def handle_starttag(self, tag, attrs):
        self.found.append(tag)
        self.inside = tag

    def handle_data(self, data):
        if self.inside == "script":
            self.script += data


@pytest.mark.parametrize(
    "name",
    ["<!--<script>", "</script><script>alert(1)</script>", "\u2028\u2029", "&lt;", "${data}", "'\"`", "a\x00\n\udcff"],
)
def test_no_name_breaks_the_page_or_the_sheet(pictures, tmp_path, name: str):
    plain, hostile = (
        page_text(pictures, {2: own, 3: "left"}, own, Table("", "", [own], [[own], ["b"]]), {own: own}, [own])
        for own in ("name", name)
    )
    pages = [Elements(), Elements()]
    for page, text in zip(pages, (plain, hostile), strict=True):
        page.feed(text)
    assert pages[0].found == pages[1].found
    data = json.loads(re.search(r"const data = (.*);\n", pages[1].script).group(1))
    assert data["layers"][0]["name"] == name
    assert not re.search("[<>&\u2028\u2029]", re.search(r"const data = (.*);\n", hostile).group(1))
    assert pages[1].script.rstrip().endswith("show(now());")
    hostile.encode()


def test_the_report_of_a_query_with_a_dollar_in_its_name(pictures, tmp_path):
    outputs = Outputs(tmp_path, ScanFile(tmp_path / "$a_{.nii.gz"))
    scores = dict.fromkeys(METRICS, 0.5)
    labels = {label: {"name": "$x", "volume_ml": 1.0, "confidence": 0.5} | scores for label in NAMES}
    write_report(outputs, pictures, labels, {"query": "$"}, [], "LAS")
    assert {path.name for path in tmp_path.iterdir()} == {"$a_{.html", "$a_{.png"}
    assert matplotlib.image.imread(outputs.montage).shape[1] > 400


def test_the_sheet_of_many_slices_takes_little_more_memory_than_their_masks():
    labels = np.zeros((600, 128, 128), dtype=np.uint16)
    labels[200:300, 40:80, 40:80] = 3
    pictures = Pictures(np.zeros(labels.shape, dtype=np.uint8), labels)
    montage_of(pictures, NAMES, "")  # what is imported and kept for later sheets is none of its own
    tracemalloc.start()
    montage_of(pictures, NAMES, "")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * labels.nbytes
