"""Tables of the comparison "one annotated scan": their statistics are the slow ones, and rows hold what compares."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from Stage2.benchmarks.one_scan_table import as_text, correlation, fold_means, one_scan_tables, roc_area


def naive_roc_area(scores, good) -> float:
    pairs = [(one, other) for one, own in zip(scores, good, strict=True) if own
             for other, second in zip(scores, good, strict=True) if not second]  # fmt: skip
    return sum((one > other) + 0.5 * (one == other) for one, other in pairs) / len(pairs) if pairs else math.nan


def naive_correlation(scores, values) -> float:
    count = len(scores)
    mean, other = sum(scores) / count, sum(values) / count
    both = sum((x - mean) * (y - other) for x, y in zip(scores, values, strict=True))
    own, second = sum((x - mean) ** 2 for x in scores), sum((y - other) ** 2 for y in values)
    return both / math.sqrt(own * second) if own and second else math.nan


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 4)), min_size=1, max_size=20))
def test_statistics_are_the_slow_ones(pairs):
    scores, values = (np.array(own, dtype=float) for own in zip(*pairs, strict=True))
    good = values >= 2
    assert roc_area(scores, good) == pytest.approx(naive_roc_area(scores, good), nan_ok=True)
    assert correlation(scores, values) == pytest.approx(naive_correlation(scores, values), nan_ok=True)


def drawn_records(rng, **same) -> list[dict]:
    """Values of 3 folds, 2 seeds, 2 scans a fold and 2 organs."""
    return [
        {
            "dataset": "drawn", "labels": [1, 2], "slices": None, "unlabelled": False, "start": "mine",
            "start_hash": "a", "minutes": 3.0, "steps": None, "fold": fold, "seed": seed, "scan": f"{fold}{scan}",
            "label": label, "organ": "AB"[label - 1], "dice": rng.uniform(), "hd95_mm": rng.uniform(),
            "confidence": rng.uniform(), "adaptation_cpu_seconds": 180.0, "query_cpu_seconds": 4.0, **same,
        }
        for fold in range(3) for seed in range(2) for scan in range(2) for label in (1, 2)
    ]  # fmt: skip


def test_the_table_gives_means_over_folds_and_their_deviation():
    records = drawn_records(np.random.default_rng(0))
    records[0]["hd95_mm"] = None
    first, second, confidence = one_scan_tables(records)
    by_fold = [
        [np.mean([own["dice"] for own in records if (own["fold"], own["organ"]) == (fold, organ)]) for organ in "AB"]
        for fold in range(3)
    ]
    for place, values in ((2, [own[0] for own in by_fold]), (4, [np.mean(own) for own in by_fold])):
        mean = sum(values) / 3
        deviation = math.sqrt(sum((value - mean) ** 2 for value in values) / 2)
        assert first.rows[0][place] == f"{mean:.3f} ± {deviation:.3f}"
    assert first.rows[0][:2] == ["mine", "3 min"] and first.rows[0][5:] == ["3", "2", "24", "0", "180", "4"]
    assert second.rows[0][8] == "1"
    scores, dices = ([own[name] for own in records] for name in ("confidence", "dice"))
    area = naive_roc_area(scores, [value >= 0.6 for value in dices])
    assert confidence.rows[0][2:6] == [
        "24", str(sum(value < 0.6 for value in dices)), f"{naive_correlation(scores, dices):.3f}", f"{area:.3f}",
    ]  # fmt: skip


def test_rows_are_approaches_and_sections_are_what_cannot_be_compared():
    rng = np.random.default_rng(0)
    baseline = {"start": "registration", "start_hash": "", "minutes": None, "seed": None, "confidence": None}
    records = [
        *drawn_records(rng, **baseline), *drawn_records(rng, minutes=10.0), *drawn_records(rng),
        *drawn_records(rng, unlabelled=True), *drawn_records(rng, slices=3),
    ]  # fmt: skip
    tables = one_scan_tables(records)
    assert [[row[:2] for row in table.rows] for table in tables[::3]] == [
        [["registration", ""], ["mine", "3 min"], ["mine", "10 min"]],
        [["registration", ""], ["mine", "3 min"]],
        [["mine", "3 min"]],
    ]
    assert tables[2].rows[0][2:6] == ["0", "0", "-", "-"]
    assert "3 slices of every organ" in tables[6].setting and "unlabelled" in tables[3].setting
    assert as_text(records).count("### Dice") == 3
    with pytest.raises(ValueError, match="no value yet"):
        as_text([])


def test_a_fold_without_a_value_has_no_mean():
    records = drawn_records(np.random.default_rng(0))
    for own in records:
        own["dice"] = math.nan if own["fold"] == 1 else own["dice"]
    means = fold_means(pd.DataFrame(records), "dice")
    assert math.isnan(means.loc[1, "mean"]) and not math.isnan(means.loc[2, "mean"])


def test_files_of_one_name_are_one_row_where_every_fold_has_its_own():
    records = [own | {"start_hash": f"hash{own['fold']}"} for own in drawn_records(np.random.default_rng(0))]
    table = one_scan_tables(records)[0]
    assert [row[0] for row in table.rows] == ["mine (a file for each fold)"]
    assert table.rows[0][2:5] == one_scan_tables(drawn_records(np.random.default_rng(0)))[0].rows[0][2:5]
    records[0]["start_hash"] = "another"
    assert len(one_scan_tables(records)[0].rows) == 4
