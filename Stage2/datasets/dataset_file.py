"""Data sets of your own: reading and checking the YAML file that describes one (docs/datasets.md).

name: heart                                     # short, as in run folders
modality: MR                                    # MR or CT
classes: {background: 0, myocardium: 1, left_ventricle: 2, right_ventricle: 3}
evaluated: [1, 2, 3]
label_sets: {0: [1], 1: [2, 3]}                 # training classes; the other evaluated ones are tested
folds: [0, 7, 14, 21, 28, 35]                   # boundaries in the list of scans
foreground_threshold: 50
label_values: {200: 1, 500: 2, 600: 3}          # optional: value in the label files -> label
default_folder: data/heart/normalized           # optional: processed folder
preparation: {images: ..., ...}                 # optional: how raw data become this folder (Stage2/preparation)
"""

import re
import sys
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import yaml

SUFFIXES = (".yaml", ".yml")
MODALITIES = ("MR", "CT")
REQUIRED = ("name", "modality", "classes", "evaluated", "label_sets", "folds", "foreground_threshold")
OPTIONAL = ("label_values", "default_folder", "preparation")
LARGEST_LABEL = 255  # labels are kept as uint8
# Of a data set file: bytes, values (those of an alias counted again where it stands), and levels of nesting.
MAX_BYTES, MAX_VALUES, MAX_DEPTH = 1_000_000, 10_000, 30


class Rule(NamedTuple):
    """What the value of a key must be.

    Attributes:
        fits: whether a value is one.
        expected: the end of the sentence "key is value; ...".
        made: what becomes of it.
    """

    fits: Callable[[Any], bool]
    expected: str
    made: Callable[[Any], Any] = lambda value: value

    def of(self, key: str, value: Any) -> Any:
        """What becomes of the value of a key; raises a ValueError if it does not fit."""
        expect(self.fits(value), f"{key} is {value!r}; {self.expected}")
        return self.made(value)


def expect(fits: object, sentence: str) -> None:
    """Raise a ValueError with a sentence unless something fits."""
    if not fits:
        raise ValueError(sentence)


def is_number(value: Any) -> bool:
    """Whether it is a finite number; True and False are none."""
    return type(value) in (int, float) and abs(value) <= sys.float_info.max


def nearest(key: object, known: Iterable[str]) -> str:
    """The known key that was perhaps meant."""
    return get_close_matches(str(key), known, n=1, cutoff=0)[0]


RULES = {
    "name": Rule(
        lambda value: isinstance(value, str) and bool(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", value)),
        "expected letters, digits, - and _ only, as run folders are named by it.",
    ),
    "modality": Rule(lambda value: value in MODALITIES, f"choose one of {', '.join(MODALITIES)}."),
    "foreground_threshold": Rule(is_number, "expected a number, in the units of the images.", float),
    "default_folder": Rule(
        lambda value: value is None or (isinstance(value, str) and bool(value)), "expected a path."
    ),
}
WHOLE_NUMBERS = Rule(
    lambda value: isinstance(value, list) and all(type(entry) is int for entry in value),
    "expected a list of whole numbers, such as [1, 2].",
)


def is_dataset_file(name: str) -> bool:
    """Whether the name of a data set is that of a file."""
    return name.endswith(SUFFIXES)


def read_dataset_file(path: Path) -> dict[str, Any]:
    """The fields of `Stage2.datasets.catalog.DataSet` that a file gives.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the first thing wrong with it, after the file's name.
    """
    content = read_yaml(path)
    try:
        return {**_checked_fields(content), "source": path}
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def read_yaml(path: Path) -> Any:
    """What a data set file holds, unchecked but for keys that stand twice and for its size.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no YAML text, or too large for a data set file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is no file; expected a data set file, as docs/datasets.md describes.")
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"{path} has {path.stat().st_size} bytes; expected a data set file of {MAX_BYTES} at most.")
    try:
        return yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ValueError(f"{path}{line}: {error.problem}; correct the YAML.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no YAML text ({' '.join(str(error).split())}); write it anew.") from None


def checked_label_values(value: Any, content: Mapping[str, Any]) -> Mapping[int, int] | None:
    """Value in raw label files -> label of a class, of a data set file with this content; None: there is no table.

    Raises:
        ValueError: a value or a label of the wrong type or of no class, or an evaluated label without value.
    """
    classes = _classes(content.get("classes"))
    return _label_values(value, classes, _evaluated(content.get("evaluated"), classes))


class _Loader(yaml.SafeLoader):
    """YAML of bounded size in which no key of a mapping may stand twice; PyYAML would silently keep the last."""

    def __init__(self, stream: str):
        super().__init__(stream)
        self.depth = 0
        self.values: dict[yaml.Node, int] = {}

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node:
        mark = self.peek_event().start_mark
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise yaml.MarkedYAMLError(problem=f"more than {MAX_DEPTH} levels of nesting", problem_mark=mark)
        node = super().compose_node(parent, index)
        self.depth -= 1
        parts = node.value if isinstance(node, yaml.CollectionNode) else ()
        parts = [part for entry in parts for part in (entry if isinstance(entry, tuple) else (entry,))]
        self.values[node] = 1 + sum(self.values.get(part, 0) for part in parts)
        if self.values[node] > MAX_VALUES:
            raise yaml.MarkedYAMLError(problem=f"more than {MAX_VALUES} values", problem_mark=mark)
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError):  # of int(), a pattern, a table
            problem = f"{str(node.value)[:40]!r} is no {node.tag.rsplit(':')[-1]}"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark) from None


def _unique_mapping(loader: _Loader, node: yaml.MappingNode) -> dict:
    mapping: dict = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, Hashable):
            raise yaml.MarkedYAMLError(problem=f"{key} cannot be a key", problem_mark=key_node.start_mark)
        if key in mapping:
            raise yaml.MarkedYAMLError(problem=f"{key} stands twice", problem_mark=key_node.start_mark)
        mapping[key] = loader.construct_object(value_node, deep=True)
    return mapping


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _unique_mapping)


def _checked_fields(content: Any) -> dict[str, Any]:
    expect(isinstance(content, Mapping), f"found {_kind(content)}, expected the keys {', '.join(REQUIRED)}.")
    known = (*REQUIRED, *OPTIONAL)
    for key in content:
        expect(key in known, f"{key} is not a key of a data set file; the nearest one is {nearest(key, known)}.")
    for key in REQUIRED:
        expect(key in content, f"{key} is missing; a data set file needs {', '.join(REQUIRED)}.")
    expect(
        content.get("preparation") is None or content.get("label_values") is None,
        "label_values tells of a processed folder, but preparation writes the labels of classes; move label_values "
        "into preparation.",
    )
    classes = _classes(content["classes"])
    evaluated = _evaluated(content["evaluated"], classes)
    return {
        **{key: rule.of(key, content.get(key)) for key, rule in RULES.items()},
        "classes": MappingProxyType(classes),
        "evaluated": tuple(sorted(evaluated)),
        "label_sets": MappingProxyType(_label_sets(content["label_sets"], evaluated)),
        "fold_boundaries": tuple(_folds(content["folds"])),
        "label_values": _label_values(content.get("label_values"), classes, evaluated),
    }


def _classes(value: Any) -> dict[str, int]:
    """Class name -> label, in order of label."""
    names: dict[int, str] = {}
    for name, label in _mapping("classes", value, "class name: label").items():
        is_text, is_label = isinstance(name, str) and name.strip(), type(label) is int and 0 <= label <= LARGEST_LABEL
        expect(is_text, f"classes has the name {name!r}, which is no text; put it in quotes.")
        expect(is_label, f"class {name} has label {label!r}; expected a whole number, 0 to {LARGEST_LABEL}.")
        other = names.setdefault(label, name)
        expect(other == name, f"classes {other} and {name} have the same label {label}; give each its own.")
    expect(0 in names, "classes has no label 0; name the background, as in background: 0.")
    return {names[label]: label for label in sorted(names)}


def _evaluated(value: Any, classes: Mapping[str, int]) -> list[int]:
    labels = _distinct("evaluated", value, classes.values(), f"not in classes {dict(classes)}")
    expect(labels, "evaluated is empty; name the labels to train on and test.")
    expect(0 not in labels, "evaluated names label 0, the background; leave it out.")
    return labels


def _label_sets(value: Any, evaluated: Sequence[int]) -> dict[int, frozenset[int]]:
    sets = {}
    for number, labels in _mapping("label_sets", value, "number: [labels of the training classes]").items():
        is_number, where = type(number) is int and number >= 0, f"label set {number}"
        expect(is_number, f"label_sets has the number {number!r}; expected a whole number, 0 or more.")
        _distinct(where, labels, evaluated, f"not among the evaluated {list(evaluated)}")
        remedy = "leave one out, so that there is one to test"
        expect(len(labels) < len(evaluated), f"{where} trains on every evaluated label; {remedy}.")
        sets[number] = frozenset(labels)
    return sets


def _folds(value: Any) -> list[int]:
    boundaries = WHOLE_NUMBERS.of("folds", value)
    sizes = [after - before for before, after in pairwise(boundaries)]
    expect(
        len(sizes) >= 2 and boundaries[0] == 0 and min(sizes) > 0,
        f"folds is {boundaries}; expected rising boundaries of two folds or more, from 0 to the number of scans, such "
        "as [0, 4, 8, 12].",
    )
    expect(
        boundaries[-1] - max(sizes) >= 2,
        f"folds {boundaries} test {max(sizes)} of {boundaries[-1]} scans at once; leave two or more, for the support "
        "scan and for training.",
    )
    return boundaries


def _label_values(value: Any, classes: Mapping[str, int], evaluated: Sequence[int]) -> Mapping[int, int] | None:
    """Value in the label files -> label; 0 is background where the file does not say otherwise."""
    if value is None:
        return None
    for stored, label in _mapping("label_values", value, "value in the label files: label").items():
        is_label = type(label) is int and label in classes.values()
        expect(type(stored) is int, f"label_values has the value {stored!r}; expected a whole number.")
        expect(is_label, f"label_values maps {stored} to {label!r}, which is not in classes {dict(classes)}.")
    mapped = {0: 0, **value}
    for label in evaluated:
        lacking = f"label_values maps no value to the evaluated label {label}"
        expect(label in mapped.values(), f"{lacking}; add its value.")
    return MappingProxyType(mapped)


def _mapping(key: str, value: Any, entries: str) -> Mapping:
    is_mapping = isinstance(value, Mapping) and value
    expect(is_mapping, f"{key} is {_kind(value)}; expected entries of the form {entries}.")
    return value


def _distinct(where: str, value: Any, known: Iterable[int], otherwise: str) -> list[int]:
    """Labels that are known, each once."""
    labels = WHOLE_NUMBERS.of(where, value)
    for label in labels:
        expect(label in known, f"{where} names label {label}, which is {otherwise}.")
        expect(labels.count(label) == 1, f"{where} names label {label} twice; name it once.")
    return labels


def _kind(value: Any) -> str:
    return "empty" if value is None or value == {} else repr(value)
