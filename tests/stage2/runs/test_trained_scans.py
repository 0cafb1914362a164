"""Which scans a snapshot was trained on, told by run folders that are written here."""

import json
from pathlib import Path

import pytest

from Stage2.datasets.catalog import get_dataset
from Stage2.runs.trained_scans import check_untouched, exclude_rule_of, runs_behind

IDS = [str(scan) for scan in range(20)]


def make_run(folder: Path, entry: str = "training", **config) -> Path:
    """A run folder; gives its snapshot."""
    (folder / "snapshots").mkdir(parents=True)
    own = {"dataset": "CHAOST2_Superpix", "eval_fold": 0, "support_idx": [-1], "reload_model_path": None}
    (folder / "config.json").write_text(json.dumps(own | config))
    (folder / "run.json").write_text(json.dumps({"experiment": {"name": entry}}))
    snapshot = folder / "snapshots" / "5.pth"
    snapshot.touch()
    return snapshot


def touched(snapshot: Path, tested: list[int], dataset: str = "CHAOST2") -> str:
    """The sentence that names scans; empty where the test may go on."""
    try:
        check_untouched(snapshot, get_dataset(dataset), IDS, [str(scan) for scan in tested])
    except ValueError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("scheme", [{}, {"fold_scheme": "disjoint"}, {"fold_scheme": "overlapping"}])
@pytest.mark.parametrize("tested", [[0, 1, 2, 3], [0, 1, 2, 3, 4]])
def test_a_training_leaves_out_the_fold_of_either_scheme(tmp_path, scheme, tested):
    """With one support scan both schemes train on the same scans."""
    snapshot = make_run(tmp_path / "1", **scheme)
    assert touched(snapshot, tested) == ""
    assert "(5, 19)" in touched(snapshot, [0, 5, 19])


@pytest.mark.parametrize(
    ("trained", "tested", "named"),
    [
        ({}, [0, 1, 2, 3], None),
        ({}, [0, 1, 3, 4], "(4)"),  # its support is a test scan of the overlapping fold
        ({"fold_scheme": "overlapping", "support_idx": [2]}, [0, 1, 3, 4], None),
        ({"fold_scheme": "overlapping", "support_idx": [2]}, [0, 1, 2, 3], "(2)"),
    ],
)
def test_fine_tuning_trains_on_its_support_too(tmp_path, trained, tested, named):
    start = make_run(tmp_path / "train" / "1")
    snapshot = make_run(tmp_path / "ft" / "1", "finetuning", reload_model_path=str(start), **trained)
    sentence = touched(snapshot, tested)
    assert (named is None) == (sentence == "")
    if named:
        assert named in sentence and "choose eval_fold, fold_scheme and support_idx so that they were left" in sentence


def test_the_runs_behind_a_snapshot_are_followed(tmp_path):
    first = make_run(tmp_path / "train" / "1", eval_fold=1)
    second = make_run(tmp_path / "ft" / "1", "finetuning", reload_model_path=str(first.parent.parent))
    assert list(runs_behind(second)) == [tmp_path / "ft" / "1", tmp_path / "train" / "1"]
    assert "(0, 1, 2, 3)" in touched(second, [0, 1, 2, 3])
    assert str(tmp_path / "train" / "1") in touched(second, [0, 1, 2, 3])


def test_what_tells_nothing_passes(tmp_path, caplog):
    alone = tmp_path / "alone.pth"
    alone.touch()
    assert touched(alone, [0]) == ""
    other = make_run(tmp_path / "1", dataset="SABS")
    assert touched(other, [9]) == ""
    gone = make_run(tmp_path / "2", reload_model_path=str(tmp_path / "gone.pth"))
    assert touched(gone, [0]) == ""
    odd = make_run(tmp_path / "3", eval_fold="none")
    assert touched(odd, [9]) == "" and "does not tell which scans were trained on" in caplog.text


def test_the_rule_of_the_trainings_counts(tmp_path):
    start = make_run(tmp_path / "train" / "1", exclude_cls_list=[2, 3], exclude_rule="all")
    tuned = make_run(tmp_path / "ft" / "1", reload_model_path=str(start), exclude_cls_list=[2, 3], exclude_rule="any")
    plain = make_run(tmp_path / "plain" / "1", exclude_cls_list=[2, 3])
    assert [exclude_rule_of(own, "any") for own in (start, tuned, plain, None)] == ["all", "all", "any", "any"]
    assert exclude_rule_of(plain, "all") == "any"
    assert exclude_rule_of(None, "all") == "all"
