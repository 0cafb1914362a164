"""Which scans a snapshot was trained on, told by run folders that are written here."""

import json
from contextlib import nullcontext
from pathlib import Path

import pytest

from Stage2.datasets.catalog import get_dataset
from Stage2.run_folders.selection import Choice
from Stage2.runs.build import begins_from, choose_start
from Stage2.runs.settings import RunSettings
from Stage2.runs.trained_scans import check_no_test_labels, check_untouched, exclusion_of, runs_behind

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

    def rule_of(snapshot: Path | None, own: str) -> str:
        return exclusion_of(snapshot, get_dataset("CHAOST2"), [], own)[1]

    assert [rule_of(own, "any") for own in (start, tuned, plain, None)] == ["all", "all", "any", "any"]
    assert rule_of(plain, "all") == "any"
    assert rule_of(None, "all") == "all"


@pytest.mark.parametrize(
    ("trained", "tuned", "own", "classes"),
    [
        ([3, 2], [2, 3], [], [2, 3]),  # setting 2, though the test does not say so
        ([2, 3], [2, 3], [3, 2], [2, 3]),
        ([], [], [2, 3], []),  # setting 1, whatever the test says
        ([], [2, 3], [], []),  # the training has seen them
    ],
    ids=str,
)
def test_the_classes_left_out_are_those_of_the_trainings(tmp_path, caplog, trained, tuned, own, classes):
    start = make_run(tmp_path / "train" / "1", exclude_cls_list=trained)
    snapshot = make_run(tmp_path / "ft" / "1", reload_model_path=str(start), exclude_cls_list=tuned)
    data_set = get_dataset("CHAOST2")
    assert exclusion_of(snapshot, data_set, own, "any") == (classes, "any")
    assert ("that counts" in caplog.text) == (own != [] and sorted(own) != classes)
    assert exclusion_of(None, data_set, [3, 2], "any") == ([2, 3], "any")
    assert exclusion_of(snapshot, get_dataset("SABS"), [6], "any") == ([6], "any")  # trained on another data set


def test_what_the_weights_of_an_encoder_were_trained_on_is_followed(tmp_path):
    first = make_run(tmp_path / "exps" / "train" / "1", eval_fold=1)
    second = make_run(tmp_path / "exps" / "again" / "1", pretrained_backbone=str(first))
    assert "(0, 1, 2, 3)" in touched(second, [0, 1, 2, 3])
    (tmp_path / "exps").rename(tmp_path / "moved")
    moved = tmp_path / "moved" / "again" / "1" / "snapshots" / "5.pth"
    assert list(runs_behind(moved)) == [tmp_path / "moved" / name / "1" for name in ("again", "train")]


@pytest.mark.parametrize(
    ("settings", "file"),
    [
        ({}, None),
        ({"pretrained_backbone": "b.pth"}, "b.pth"),
        ({"pretrained_backbone": "b.pth", "reload_model_path": "s.pth"}, "s.pth"),
        ({"method": "adapted", "adapt_start": "a.pth", "pretrained_backbone": "b.pth"}, "a.pth"),
        ({"method": "adapted", "pretrained_backbone": "b.pth"}, "b.pth"),
        ({"method": "adapted", "adapt_start": "random"}, None),
    ],
    ids=str,
)
def test_a_test_begins_from_the_file_that_its_network_has(settings, file):
    own = RunSettings(**settings)
    assert begins_from(own, choose_start(own)) == (None if file is None else Path(file))


@pytest.mark.parametrize(
    ("selection", "refused"),
    [
        ({"selection": {"rule": "test", "reason": None}}, True),
        ({"selection": "test: the best"}, True),
        ({"select": "test"}, True),
        ({"selection": {"rule": "last", "reason": None}, "select": "last"}, False),
    ],
    ids=str,
)
def test_a_training_from_a_snapshot_that_tests_chose_is_refused(tmp_path, selection, refused):
    start = make_run(tmp_path / "train" / "1")
    tuned = make_run(tmp_path / "ft" / "1", reload_model_path=str(start.parent.parent), **selection)
    again = make_run(tmp_path / "ft" / "2", reload_model_path=str(tuned), select="test")  # of a file, it says nothing
    check_no_test_labels(Choice(start, "last"), start)
    for snapshot in (tuned, again):
        with pytest.raises(ValueError, match=r"ft/1 began from .* chosen by them") if refused else nullcontext():
            check_no_test_labels(Choice(snapshot), snapshot)
    with pytest.raises(ValueError, match=r"was chosen by them \(select=test\); choose select=train_scans or last"):
        check_no_test_labels(Choice(start, "test"), start)
