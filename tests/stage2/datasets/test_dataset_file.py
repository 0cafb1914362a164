"""Data set files: what a good one gives, and one sentence for every mistake."""

import re
import time
from pathlib import Path

import pytest
import yaml

from Stage2.datasets.catalog import DataSet, dataset_identity, get_dataset, run_name
from Stage2.datasets.dataset_file import read_dataset_file

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "datasets" / "heart.yaml"
LEAST = {
    "name": "heart",
    "modality": "CT",
    "classes": {"background": 0, "left": 2, "right": 1},
    "evaluated": [2, 1],
    "label_sets": {0: [1], 3: []},
    "folds": [0, 2, 4],
    "foreground_threshold": 0,
}


def write(path: Path, remove: str = "", **changes) -> Path:
    content = {key: value for key, value in {**LEAST, **changes}.items() if key != remove}
    path.write_text(yaml.safe_dump(content))
    return path


def test_the_example_is_whole():
    data_set = get_dataset(str(EXAMPLE))
    assert data_set == DataSet(
        name="heart",
        modality="MR",
        classes={"background": 0, "myocardium": 1, "left_ventricle": 2, "right_ventricle": 3},
        evaluated=(1, 2, 3),
        label_sets={0: frozenset({1}), 1: frozenset({2, 3})},
        fold_boundaries=(0, 7, 14, 21, 28, 35),
        foreground_threshold=50.0,
        default_folder=None,
        label_values={0: 0, 200: 1, 500: 2, 600: 3},
        source=EXAMPLE,
    )
    assert (data_set.n_folds, data_set.training_labels(0), data_set.test_labels(0)) == (5, [1], [2, 3])


def test_optional_keys_may_be_left_out(tmp_path):
    data_set = get_dataset(str(write(tmp_path / "mine.yml")))
    assert (data_set.label_values, data_set.default_folder) == (None, None)
    assert list(data_set.classes.items()) == [("background", 0), ("right", 1), ("left", 2)]
    assert (data_set.evaluated, data_set.test_labels(3)) == ((1, 2), [1, 2])


def test_run_folders_take_the_short_name(tmp_path):
    assert run_name(str(EXAMPLE)) == "heart"
    assert run_name("CHAOST2_Superpix") == "CHAOST2_Superpix"


def test_a_resumed_run_must_agree_in_the_content_not_in_the_path(tmp_path):
    (tmp_path / "copy.yaml").write_text(EXAMPLE.read_text())
    assert dataset_identity(str(EXAMPLE)) == dataset_identity(str(tmp_path / "copy.yaml"))
    (tmp_path / "copy.yaml").write_text(EXAMPLE.read_text().replace("600: 3", "600: 2\n  7: 3"))
    assert dataset_identity(str(EXAMPLE)) != dataset_identity(str(tmp_path / "copy.yaml"))
    assert dataset_identity("SABS") == {"dataset": "SABS"}


MISTAKES = {
    "missing key": ({"remove": "folds"}, "folds is missing; a data set file needs name, modality,"),
    "unknown key": ({"labelsets": 1}, "labelsets is not a key of a data set file; the nearest one is label_sets."),
    "slashes in the name": ({"name": "my/heart"}, "name is 'my/heart'; expected letters"),
    "a number for a name": ({"name": 7}, "name is 7; expected letters"),
    "a built-in name": ({"name": "SABS"}, "the name SABS is that of a built-in data set"),
    "a built-in suffix": ({"name": "a_Superpix"}, "the name a_Superpix is that of a built-in data set, or like it"),
    "modality": ({"modality": "PET"}, "modality is 'PET'; choose one of MR, CT."),
    "a list for a modality": ({"modality": ["MR"]}, "modality is ['MR']; choose one of MR, CT."),
    "classes as a list": ({"classes": ["a"]}, "classes is ['a']; expected entries of the form class name: label."),
    "no classes": ({"classes": {}}, "classes is empty; expected entries"),
    "a class named no": ({"classes": {"bg": 0, False: 1}}, "classes has the name False, which is no text; put it in"),
    "label as text": ({"classes": {"bg": 0, "a": "1"}}, "class a has label '1'; expected a whole number, 0 to 255."),
    "label too large": ({"classes": {"bg": 0, "a": 500}}, "class a has label 500; expected a whole number, 0 to 255."),
    "duplicate label": ({"classes": {"bg": 0, "a": 1, "b": 1}}, "classes a and b have the same label 1"),
    "no background": ({"classes": {"a": 1, "b": 2}}, "classes has no label 0; name the background"),
    "evaluated as a number": ({"evaluated": 1}, "evaluated is 1; expected a list of whole numbers"),
    "nothing evaluated": ({"evaluated": []}, "evaluated is empty"),
    "evaluated by name": ({"evaluated": ["left"]}, "evaluated is ['left']; expected a list of whole numbers"),
    "evaluated unknown": ({"evaluated": [1, 3]}, "evaluated names label 3, which is not in classes"),
    "evaluated background": ({"evaluated": [0, 1]}, "evaluated names label 0, the background"),
    "evaluated twice": ({"evaluated": [1, 2, 1]}, "evaluated names label 1 twice"),
    "label sets as a list": ({"label_sets": [[1]]}, "label_sets is [[1]]; expected entries of the form number: ["),
    "label set by name": ({"label_sets": {"a": [1]}}, "label_sets has the number 'a'; expected a whole number"),
    "label set unevaluated": ({"label_sets": {0: [4]}}, "label set 0 names label 4, which is not among the evaluated"),
    "label set twice": ({"label_sets": {0: [1, 1]}}, "label set 0 names label 1 twice"),
    "label set of all": ({"label_sets": {0: [1, 2]}}, "label set 0 trains on every evaluated label"),
    "folds not ascending": ({"folds": [0, 4, 4, 8]}, "folds is [0, 4, 4, 8]; expected rising boundaries"),
    "folds not from 0": ({"folds": [1, 4, 8]}, "folds is [1, 4, 8]; expected rising boundaries"),
    "one fold": ({"folds": [0, 8]}, "folds is [0, 8]; expected rising boundaries of two folds or more"),
    "folds as text": ({"folds": "0 4"}, "folds is '0 4'; expected a list of whole numbers"),
    "nothing left to train on": ({"folds": [0, 4, 5]}, "folds [0, 4, 5] test 4 of 5 scans at once; leave two or more"),
    "threshold as text": ({"foreground_threshold": "high"}, "foreground_threshold is 'high'; expected a number"),
    "infinite threshold": ({"foreground_threshold": float("inf")}, "foreground_threshold is inf; expected a number"),
    "threshold beyond floats": ({"foreground_threshold": 10**400}, "foreground_threshold is 1000"),
    "threshold yes": ({"foreground_threshold": True}, "foreground_threshold is True; expected a number"),
    "value to no class": ({"label_values": {200: 1, 500: 2, 600: 3}}, "label_values maps 600 to 3, which is not in"),
    "value as text": ({"label_values": {"x": 1}}, "label_values has the value 'x'; expected a whole number"),
    "values as a list": ({"label_values": [1]}, "label_values is [1]; expected entries of the form value in"),
    "evaluated without a value": ({"label_values": {200: 1}}, "label_values maps no value to the evaluated label 2"),
    "folder as a number": ({"default_folder": 3}, "default_folder is 3; expected a path."),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_one_sentence_with_the_name_of_the_file(tmp_path, mistake):
    changes, sentence = MISTAKES[mistake]
    path = write(tmp_path / "mine.yaml", **changes)
    with pytest.raises(ValueError) as caught:
        get_dataset(str(path))
    assert str(caught.value).startswith(f"{path}: {sentence}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (b"", ": found empty, expected the keys name, modality"),
        (b"heart", ": found 'heart', expected the keys name, modality"),
        (b"name: [a\nb: 1", ", line 2: "),
        (b"name: a\nclasses:\n  a: 1\n  a: 2\n", ", line 4: a stands twice; correct the YAML."),
        (b"? [a]\n: b\n", ", line 1: ['a'] cannot be a key; correct the YAML."),
        (b"name: !!python/object:os.system x", ", line 1: could not determine a constructor"),
        (b"name: 2020-13-45", ", line 1: '2020-13-45' is no timestamp; correct the YAML."),
        (b"name: a\nfolds: [!!float abc]", ", line 2: 'abc' is no float; correct the YAML."),
        pytest.param(b"folds: [%s]" % (b"9" * 5000), f", line 1: '{'9' * 40}' is no int; correct", id="5000 digits"),
        (b"name: !!bool foo", ", line 1: 'foo' is no bool; correct the YAML."),
        (b"name: !!int ''", ", line 1: '' is no int; correct the YAML."),
        (b"name: !!timestamp x", ", line 1: 'x' is no timestamp; correct the YAML."),
        (b"name: \xff\xfe", " is no YAML text ("),
        (b"name: \x01", " is no YAML text ("),
    ],
)
def test_broken_yaml_is_one_sentence(tmp_path, text, sentence):
    path = tmp_path / "mine.yaml"
    path.write_bytes(text)
    with pytest.raises(ValueError) as caught:
        read_dataset_file(path)
    assert str(caught.value).startswith(f"{path}{sentence}")
    assert "\n" not in str(caught.value)


# More than 10^10 values, could they be written out.
ALIASES = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (ALIASES, ", line 5: more than 10000 values; correct the YAML."),
        ("classes: " + "[" * 20_000, ", line 1: more than 30 levels of nesting; correct the YAML."),
        ("- " * 20_000, ", line 1: more than 30 levels of nesting; correct the YAML."),
        ("#" * 1_000_001, " has 1000001 bytes; expected a data set file of 1000000 at most."),
    ],
    ids=["aliases", "brackets", "dashes", "large"],
)
def test_what_would_take_for_ever_is_refused_at_once(tmp_path, text, sentence):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    started = time.monotonic()
    with pytest.raises(ValueError, match=f"^{re.escape(f'{path}{sentence}')}$"):
        read_dataset_file(path)
    assert time.monotonic() - started < 2


def test_an_alias_may_stand_for_a_value(tmp_path):
    path = write(tmp_path / "mine.yaml")
    text = path.read_text().replace("folds:\n- 0", "folds:\n- &none 0")
    path.write_text(text.replace("threshold: 0", "threshold: *none"))
    assert get_dataset(str(path)).foreground_threshold == 0


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent\.yaml is no file; expected a data set file"):
        get_dataset(str(tmp_path / "absent.yaml"))
