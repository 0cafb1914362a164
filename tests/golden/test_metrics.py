"""Dice, precision and recall against the published implementation, with its NaNs."""

import numpy as np
import pytest

from golden.weights import load_golden
from Stage2.evaluation.metrics import mean_of_defined, overlap_counts

PUBLISHED = {"dice": "Dice", "precision": "Prec", "recall": "Rec"}


@pytest.fixture(scope="module")
def golden():
    return load_golden("s2c_metric.npz")


def raw_table(golden, case: str, score: str) -> np.ndarray:
    """Score of every scan and class, (scans, classes), each scan summed over its slices."""
    prediction, target = golden[f"{case}__pred"], golden[f"{case}__target"]
    classes, scans = prediction.shape[:2]
    return np.array(
        [[getattr(overlap_counts(prediction[c, s], target[c, s]), score) for c in range(classes)] for s in range(scans)]
    )


@pytest.mark.parametrize("score", PUBLISHED)
@pytest.mark.parametrize("case", ["normal", "emptypred", "absent"])
def test_scores_and_means(golden, case, score):
    table = raw_table(golden, case, score)
    published = {part: golden[f"{case}__{part}{PUBLISHED[score]}"] for part in ("raw", "class", "mean")}
    np.testing.assert_allclose(table, published["raw"], rtol=0, atol=1e-6)  # NaN in the same cells

    # Published means are NaN as soon as one scan is; ours leave that scan out and equal them everywhere else.
    of_classes = np.array([mean_of_defined(column) for column in table.T])
    assert not np.isnan(of_classes).any()
    undefined = np.isnan(published["class"])
    assert np.array_equal(undefined, np.isnan(table).any(axis=0))
    np.testing.assert_allclose(of_classes[~undefined], published["class"][~undefined], rtol=0, atol=1e-6)
    for c in np.flatnonzero(undefined):
        np.testing.assert_allclose(of_classes[c], np.nanmean(published["raw"][:, c]), rtol=0, atol=1e-6)
    if undefined.any():
        assert np.isnan(published["mean"])
    else:
        np.testing.assert_allclose(mean_of_defined(of_classes), published["mean"], rtol=0, atol=1e-6)


def test_the_files_hold_undefined_cells(golden):
    assert np.isnan(raw_table(golden, "emptypred", "precision")).sum() == 1
    assert np.isnan(raw_table(golden, "absent", "dice")).sum() == 1
