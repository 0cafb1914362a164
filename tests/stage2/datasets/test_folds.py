"""Folds, support slices and parts: the rules, and that they hold for any cohort."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from Stage2.datasets.catalog import get_dataset
from Stage2.datasets.folds import Fold, part_of_slice, split_fold, support_slices

COHORT = st.lists(st.integers(0, 500), min_size=20, max_size=20, unique=True).map(lambda ids: [str(i) for i in ids])


@given(COHORT)
def test_folds_are_disjoint_and_cover_all_scans(ids):
    folds = [split_fold(ids, get_dataset("CHAOST2"), fold) for fold in range(5)]
    for fold in folds:
        roles = fold.train + fold.test + fold.support
        assert sorted(roles) == sorted(ids)
    assert sorted(scan for fold in folds for scan in fold.test) == sorted(ids)


@given(COHORT)
def test_scans_are_sorted_by_number_and_the_last_fold_wraps(ids):
    ordered = sorted(ids, key=int)
    assert split_fold(ids, get_dataset("CHAOST2"), 0).test == ordered[:4]
    assert split_fold(ids, get_dataset("CHAOST2"), 4).support == ordered[:1]


def test_support_index_minus_one_and_the_published_numbers_are_the_same_scan():
    for name, published in (("CHAOST2", 4), ("SABS", 6)):
        ids = [str(i) for i in range(get_dataset(name).fold_boundaries[-1])]
        for number in range(5):
            fold = split_fold(ids, get_dataset(name), number)
            assert fold.choose_support([published]) == fold.choose_support([-1]) == fold.support


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((range(20), "CHAOST2", 5), "eval_fold=5"),
        ((range(20), "CHAOST2", -1), "eval_fold=-1"),
        ((range(12), "CHAOST2", 0), "folds for 20 scans, but 12 were found"),
        ((range(20), "CHAOST2", 0, 16), "n_shots=16"),
    ],
)
def test_impossible_folds_are_refused(arguments, sentence):
    ids, name, *rest = arguments
    with pytest.raises(ValueError, match=sentence):
        split_fold([str(i) for i in ids], get_dataset(name), *rest)


def test_support_index_outside_the_fold_is_refused():
    with pytest.raises(ValueError, match="7 is outside the fold's 3"):
        Fold(train=["1"], test=["2", "3"], support=["4"]).choose_support([7])


@given(st.lists(st.integers(0, 80), min_size=1, max_size=40, unique=True), st.sampled_from([1, 3, 5]))
def test_support_slices_lie_in_the_class_in_order(slices, n_parts):
    chosen = support_slices(sorted(slices), n_parts)
    assert len(chosen) == n_parts
    assert set(chosen) <= set(slices)
    assert chosen == sorted(chosen)


@given(st.integers(0, 40), st.integers(0, 40), st.integers(1, 6))
def test_parts_rise_from_the_first_to_the_last(z_min, length, n_parts):
    parts = [part_of_slice(z, z_min, z_min + length, n_parts) for z in range(-3, z_min + length + 4)]
    assert parts == sorted(parts)
    assert parts[0] == 0
    assert parts[-1] == (n_parts - 1 if length else 0)
