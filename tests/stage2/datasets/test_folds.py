"""Folds, support slices and parts: the rules, and that they hold for any cohort."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from Stage2.datasets.catalog import DataSet, get_dataset
from Stage2.datasets.folds import (
    Fold,
    count_shots,
    excluded_slices,
    part_of_slice,
    split_fold,
    support_slices,
)

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


@pytest.mark.parametrize("index", [[-1, -1], [2, -1], [0, 1, 0]], ids=str)
def test_a_scan_is_a_support_once(index):
    with pytest.raises(ValueError, match=r"names scan [24] twice; name each scan once"):
        Fold(train=["1"], test=["2", "3"], support=["4"]).choose_support(index)


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


# ADNet's published tables of test scans: places in the sorted list.
OVERLAPPING = {
    "CHAOST2": [[0, 1, 2, 3, 4], [4, 5, 6, 7, 8], [8, 9, 10, 11, 12], [12, 13, 14, 15, 16], [16, 17, 18, 19, 0]],
    "SABS": [[*range(0, 7)], [*range(6, 13)], [*range(12, 19)], [*range(18, 25)], [*range(24, 30), 0]],
    "CMR": [[*range(0, 8)], [*range(7, 15)], [*range(14, 22)], [*range(21, 29)], [*range(28, 35), 0]],
}  # fmt: skip


@pytest.mark.parametrize("name", OVERLAPPING)
def test_overlapping_folds_are_the_published_tables(name):
    data_set = get_dataset(name)
    ids = [str(3 * place) for place in range(data_set.fold_boundaries[-1])]
    for number, places in enumerate(OVERLAPPING[name]):
        fold = split_fold(ids, data_set, number, scheme="overlapping")
        assert fold.test == fold.candidates == [ids[place] for place in places]
        assert fold.support == []
        assert fold.train == [scan for scan in ids if scan not in fold.test]


def own_data_set(boundaries: list[int]) -> DataSet:
    return DataSet("own", "MR", {"BG": 0, "A": 1}, (1,), {0: frozenset()}, tuple(boundaries), 0.0)


def plain_overlapping(n_scans: int, boundaries: list[int], fold: int) -> tuple[list[int], list[int]]:
    """Test and training scans by counting on from the first test scan, one more than the disjoint fold has."""
    test, scan = [], boundaries[fold]
    for _ in range(boundaries[fold + 1] - boundaries[fold] + 1):
        test.append(scan)
        scan = 0 if scan == n_scans - 1 else scan + 1
    return test, [scan for scan in range(n_scans) if scan not in test]


@given(st.lists(st.integers(1, 6), min_size=2, max_size=6).filter(lambda sizes: sum(sizes) - max(sizes) >= 2))
def test_overlapping_folds_of_own_data_sets(sizes):
    boundaries = [sum(sizes[:place]) for place in range(len(sizes) + 1)]
    data_set, ids = own_data_set(boundaries), [str(scan) for scan in range(boundaries[-1])]
    tested = []
    for number in range(len(sizes)):
        fold = split_fold(ids, data_set, number, scheme="overlapping")
        test, train = plain_overlapping(len(ids), boundaries, number)
        assert ([*map(int, fold.test)], [*map(int, fold.train)]) == (test, train)
        disjoint = split_fold(ids, data_set, number)
        assert fold.candidates == disjoint.candidates and fold.train == disjoint.train
        assert fold.choose_support([-1]) == disjoint.support
        tested += fold.test
    assert all(tested.count(scan) == (2 if int(scan) in boundaries[:-1] else 1) for scan in ids)


def test_the_shots_of_every_support_are_one():
    assert [count_shots(support_idx) for support_idx in ("all", [-1], [4, 5])] == [1, 1, 2]


def test_support_entries_are_those_of_adnet():
    for length in range(1, 400):
        slices = list(range(7, 7 + 2 * length, 2))
        assert support_slices(slices, 3) == [slices[int(share * length)] for share in (1 / 6, 3 / 6, 5 / 6)]


SLICES = st.lists(st.lists(st.integers(0, 12), unique=True), max_size=4)


@given(SLICES, st.sampled_from(["any", "all"]))
def test_slices_left_out_are_those_of_a_plain_loop(by_class, rule):
    expected = set()
    for z in range(13):
        shown = 0
        for slices in by_class:
            shown += z in slices
        if shown and (rule == "any" or shown == len(by_class)):
            expected.add(z)
    assert excluded_slices(by_class, rule) == expected


@given(SLICES)
def test_all_leaves_out_no_more_than_any(by_class):
    assert excluded_slices(by_class, "all") <= excluded_slices(by_class, "any")
