"""Folds, support slices and parts as the published implementation computes them."""

import json

import pytest

from golden.weights import GOLDEN
from Stage2.datasets.catalog import get_dataset
from Stage2.datasets.folds import part_of_slice, split_fold, support_slices


@pytest.fixture(scope="module")
def tables():
    return json.loads((GOLDEN / "s2f_protocol.json").read_text())


def test_folds(tables):
    assert {(row["dataset"], row["fold"]) for row in tables["folds"]} >= {
        (name, fold) for name in ("CHAOST2", "SABS") for fold in range(5)
    }
    for row in tables["folds"]:
        fold = split_fold(row["ids"], get_dataset(row["dataset"]), row["fold"], row["nsup"])
        assert fold.train == row["train"]
        assert fold.test + fold.support == row["val"]
        assert fold.support == row["support"]


def test_support_slices(tables):
    assert {row["npart"] for row in tables["support"]} == {1, 3, 5}
    for row in tables["support"]:
        assert support_slices(row["slices"], row["npart"]) == row["support_z"], row


def test_parts(tables):
    assert {row["npart"] for row in tables["part_assign"]} == {1, 3, 5}
    for row in tables["part_assign"]:
        parts = [
            part_of_slice(z, row["z_min"], row["z_max"], row["npart"]) for z in range(len(row["part_assign_by_z"]))
        ]
        assert parts == row["part_assign_by_z"], row
