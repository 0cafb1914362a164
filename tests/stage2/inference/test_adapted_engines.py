"""Adapted networks of a request: their names are the request's, and a cache that cannot be written is passed over."""

import logging
from pathlib import Path

import pytest

from Stage2.adaptation.network_file import describe_file
from Stage2.inference.engines import engine_for
from Stage2.inference.request import Request
from Stage2.io.scans import ScanFile

MINUTES = 0.005


def adapting(case: Path, **changes):
    pairs = [(case / "scan.nii.gz", case / "mask.nii.gz")]
    given = {"adapt": MINUTES, "encoder_name": "toy", "modality": "MR", "cache": case / "cache", **changes}
    request = Request(query=case, out=case / "out", supports=pairs, **given)
    return engine_for(request, [(ScanFile(scan), ScanFile(mask)) for scan, mask in pairs])


def test_names_are_those_of_the_request_not_of_the_one_that_filled_the_cache(case):
    first = adapting(case, modality=None, dataset="CHAOST2")
    kept = first.make()
    assert [first.name_of(label) for label in (2, 3)] == ["RK", "LK"]
    again = adapting(case)
    assert again.make() == kept
    assert [again.name_of(label) for label in (2, 3)] == ["label 2", "label 3"]
    assert (first.settings()["names"], again.settings()["names"]) == (["RK", "LK"], ["label 2", "label 3"])


@pytest.mark.parametrize("place", ["file", "file/cache"])
def test_a_cache_that_cannot_be_written_is_passed_over(case, caplog, place):
    (case / "file").touch()
    engine = adapting(case, cache=case / place)
    with caplog.at_level(logging.WARNING):
        assert engine.make() is None
        assert engine.predictor.adapted.described["finished"]
    assert "the adapted network is not kept: " in caplog.text and "--out" not in caplog.text
    assert engine.make(case / "other.safetensors") == case / "other.safetensors"
    assert describe_file(case / "other.safetensors")["finished"]


def test_a_cache_that_is_only_read_gives_its_network(case, monkeypatch):
    kept = adapting(case).make()

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    for name in ("os.utime", "Stage2.inference.adapt_job.expect_writable", "Stage2.inference.adapted_engines.prune"):
        monkeypatch.setattr(name, refuse)
    assert adapting(case).make() == kept
