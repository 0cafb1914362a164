"""Tests that are not as the published ones: their settings, and their support scans."""

import pytest

from Stage2.datasets.catalog import get_dataset
from Stage2.run_folders.unusual import PUBLISHED_HEAD, USUAL, has_published_support, unusual_settings
from Stage2.runs.settings import DEFAULTS


def test_the_defaults_and_old_results_are_usual():
    assert {key: DEFAULTS[key] for key in USUAL} == USUAL
    assert DEFAULTS["clsname"] == PUBLISHED_HEAD
    assert unusual_settings({}) == unusual_settings(USUAL) == unusual_settings(dict.fromkeys(USUAL)) == ()
    assert unusual_settings({**USUAL, "val_wsize": 4, "z_margin": 1}) == ("val_wsize=4", "z_margin=1")


@pytest.mark.parametrize(
    ("name", "support_idx", "more", "published"),
    [
        ("CHAOST2", None, {}, True), ("CHAOST2", [-1], {}, True), ("CHAOST2", [4], {}, True), ("SABS", [6], {}, True),
        ("CHAOST2", [0], {}, False), ("SABS", [4], {}, False), ("CHAOST2", [-2], {}, False), ("SABS", "all", {}, False),
        ("CHAOST2", [4, 5], {}, True), ("CHAOST2", [-1, 4], {}, True), ("CHAOST2", [3, 4], {}, False),
        ("CHAOST2", [4], {"fold_scheme": "overlapping"}, True), ("CHAOST2", [2], {"fold_scheme": "overlapping"}, False),
        (None, [-1], {}, True), (None, [-2, -1], {}, True), (None, [4], {}, False),
    ],
)  # fmt: skip
def test_the_published_support_follows_the_test_scans(name, support_idx, more, published):
    boundaries = None if name is None else get_dataset(name).fold_boundaries
    results = {"fold": 1, "support_idx": support_idx, **more}
    assert has_published_support(results, boundaries) == published
