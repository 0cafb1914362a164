"""A cohort through a fold: what training leaves out, and what normalises CT, by either habit of the literature."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from Stage2.datasets.catalog import get_dataset
from Stage2.datasets.cohort import Cohort
from Stage2.datasets.folds import excluded_slices
from Stage2.datasets.volumes import fold_statistics, list_scans, own_statistics, read_label
from Stage2.io.names import image_path
from Stage2.io.nifti import read_voxels

CHAOS = Path(__file__).resolve().parents[4] / "shared" / "data" / "chaos_MR_T2_normalized"


@pytest.mark.parametrize(("scheme", "tested"), [("disjoint", "01"), ("overlapping", "012")])
def test_the_scheme_cuts_the_folds(cohort_folder, scheme, tested):
    data_set = replace(get_dataset("CHAOST2"), fold_boundaries=(0, 2, 20))
    cohort = Cohort(cohort_folder, data_set, 0, fold_scheme=scheme)
    assert cohort.fold.test == list(tested)
    assert cohort.fold.train == [str(scan) for scan in range(3, 20)]


def test_slices_left_out_by_either_rule(cohort_folder):
    cohort = Cohort(cohort_folder, get_dataset("CHAOST2"), 0)
    labels = {scan: read_label(cohort_folder, scan, None) for scan in cohort.fold.train}
    for rule, together in (("any", any), ("all", all)):
        found = cohort.excluded_slices([2, 3], rule)
        for scan, label in labels.items():
            assert found[scan] == {z for z in range(len(label)) if together((label[z] == own).any() for own in (2, 3))}
    assert cohort.excluded_slices([2, 3]) == cohort.excluded_slices([2, 3], "any")
    assert cohort.excluded_slices([], "all") == {}


def test_ct_by_each_volume_or_by_the_training_volumes(cohort_folder):
    ct = replace(get_dataset("CHAOST2"), modality="CT")
    volume = read_voxels(image_path(cohort_folder, "0")).astype(np.float32)
    scans = {way: Cohort(cohort_folder, ct, 0, ct_statistics=way).annotated_scan("0") for way in ("training", "volume")}
    own = own_statistics(volume)
    np.testing.assert_allclose(scans["volume"].image, (volume - own.mean) / own.std, rtol=1e-5, atol=1e-5)
    assert abs(scans["volume"].image.mean()) < 1e-4 < abs(scans["training"].image.mean())
    assert fold_statistics(cohort_folder, "CT", ["5", "6"], "volume") is None
    assert fold_statistics(cohort_folder, "MR", ["5", "6"], "training") is None
    assert Cohort(cohort_folder, ct, 0).annotated_scan("0").image.mean() == scans["training"].image.mean()


@pytest.mark.skipif(not CHAOS.is_dir(), reason="the labelled CHAOS volumes are not here")
def test_the_published_counts_of_chaos():
    """Of all slices of CHAOS, setting 2 leaves out 558 by ALPNet's rule and 88 by ADNet's, for all four organs."""
    counts = {"any": 0, "all": 0}
    slices = 0
    for scan in list_scans(CHAOS):
        label = read_label(CHAOS, scan, get_dataset("CHAOST2"))
        by_class = [np.flatnonzero((label == own).any(axis=(1, 2))).tolist() for own in (1, 2, 3, 4)]
        slices += len(label)
        counts = {rule: count + len(excluded_slices(by_class, rule)) for rule, count in counts.items()}
    assert (slices, counts) == (718, {"any": 558, "all": 88})
