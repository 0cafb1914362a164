"""A request of many queries is checked before anything is written: what earlier calls left stays."""

import shutil
from pathlib import Path

import pytest

from Stage2.inference.job import PredictionJob
from Stage2.inference.outputs import TABLE
from Stage2.inference.request import Request


def job(case: Path, query: Path, out: Path, **changes) -> PredictionJob:
    """Of the adapted network of the case."""
    return PredictionJob(Request(query=query, out=out, checkpoint=case / "adapted.safetensors", **changes))


@pytest.mark.parametrize("change", [{"labels": [9]}, {"device": "abacus", "force": True}], ids=["label", "device"])
def test_a_call_that_fails_leaves_the_table_of_an_earlier_one(case, tmp_path, change):
    query, out = case / "scan.nii.gz", tmp_path / "out"
    assert job(case, query, out).run() == 0
    before = (out / TABLE).read_text()
    assert before.count("\n") == 3
    with pytest.raises(ValueError, match=r"label 9 was not adapted to|device=abacus is unknown"):
        job(case, query, out, **change).run()
    assert (out / TABLE).read_text() == before
    assert job(case, query, out).run() == 0
    assert (out / TABLE).read_text() == before


def test_a_folder_that_is_asked_for_takes_no_masks(case, tmp_path):
    """Also where its scans lie in folders of their own: the next call would take the masks for scans."""
    (tmp_path / "queries" / "p1").mkdir(parents=True)
    shutil.copy(case / "scan.nii.gz", tmp_path / "queries" / "p1")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("Stage2.io.scans.holds_dicom", lambda folder: folder.name == "p1")
        with pytest.raises(ValueError, match="is the folder of the queries; choose another one"):
            job(case, tmp_path / "queries", tmp_path / "queries")
        assert job(case, tmp_path / "queries", tmp_path / "queries" / "out").queries[0].name == "p1"


def test_another_name_of_an_organ_is_written_anew(case, tmp_path):
    query, out = case / "scan.nii.gz", tmp_path / "out"
    assert job(case, query, out).run() == 0
    assert ",a," in (out / TABLE).read_text()
    assert job(case, query, out, dataset="CHAOST2").run() == 0
    assert ",RK," in (out / TABLE).read_text()
