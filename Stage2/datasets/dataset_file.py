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
preparation: {images: ..., ...}                 # optional: how raw data become this folder (preparation/recipe_file.py)
"""

import math
import re
from collections.abc import Hashable, Mapping, Sequence
from difflib import get_close_matches
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

SUFFIXES = (".yaml", ".yml")
MODALITIES = ("MR", "CT")
REQUIRED = ("name", "modality", "classes", "evaluated", "label_sets", "folds", "foreground_threshold")
OPTIONAL = ("label_values", "default_folder", "preparation")
LARGEST_LABEL = 255  # labels are kept as uint8


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
    """What a data set file holds, unchecked but for keys that stand twice.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no YAML text.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is no file; expected a data set file, as docs/datasets.md describes.")
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
    """YAML in which no key of a mapping may stand twice; PyYAML would silently keep the last."""


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
    if not isinstance(content, Mapping):
        raise ValueError(f"found {_kind(content)}, expected the keys {', '.join(REQUIRED)}.")
    known = (*REQUIRED, *OPTIONAL)
    for key in content:
        if key not in known:
            near = get_close_matches(str(key), known, n=1, cutoff=0)[0]
            raise ValueError(f"{key} is not a key of a data set file; the nearest one is {near}.")
    for key in REQUIRED:
        if key not in content:
            raise ValueError(f"{key} is missing; a data set file needs {', '.join(REQUIRED)}.")
    if content.get("preparation") is not None and content.get("label_values") is not None:
        raise ValueError(
            "label_values tells of a processed folder, but preparation writes the labels of classes; move label_values "
            "into preparation."
        )
    classes = _classes(content["classes"])
    evaluated = _evaluated(content["evaluated"], classes)
    return {
        "name": _name(content["name"]),
        "modality": _modality(content["modality"]),
        "classes": MappingProxyType(classes),
        "evaluated": tuple(sorted(evaluated)),
        "label_sets": MappingProxyType(_label_sets(content["label_sets"], evaluated)),
        "fold_boundaries": tuple(_folds(content["folds"])),
        "foreground_threshold": _threshold(content["foreground_threshold"]),
        "label_values": _label_values(content.get("label_values"), classes, evaluated),
        "default_folder": _folder(content.get("default_folder")),
    }


def _name(value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", value):
        raise ValueError(f"name is {value!r}; expected letters, digits, - and _ only, as run folders are named by it.")
    return value


def _modality(value: Any) -> str:
    if value not in MODALITIES:
        raise ValueError(f"modality is {value!r}; choose one of {', '.join(MODALITIES)}.")
    return value


def _classes(value: Any) -> dict[str, int]:
    """Class name -> label, in order of label."""
    _expect_mapping("classes", value, "class name: label")
    names: dict[int, str] = {}
    for name, label in value.items():
        if not isinstance(name, str) or not name.strip():
            raise ValueError(f"classes has the name {name!r}, which is no text; put it in quotes.")
        if type(label) is not int or not 0 <= label <= LARGEST_LABEL:
            raise ValueError(f"class {name} has label {label!r}; expected a whole number, 0 to {LARGEST_LABEL}.")
        if label in names:
            raise ValueError(f"classes {names[label]} and {name} have the same label {label}; give each its own.")
        names[label] = name
    if 0 not in names:
        raise ValueError("classes has no label 0; name the background, as in background: 0.")
    return {names[label]: label for label in sorted(names)}


def _evaluated(value: Any, classes: Mapping[str, int]) -> list[int]:
    labels = _whole_numbers("evaluated", value)
    if not labels:
        raise ValueError("evaluated is empty; name the labels to train on and test.")
    for label in labels:
        if label not in classes.values():
            raise ValueError(f"evaluated names label {label}, which is not in classes {dict(classes)}.")
        if label == 0:
            raise ValueError("evaluated names label 0, the background; leave it out.")
    _expect_distinct("evaluated", labels)
    return labels


def _label_sets(value: Any, evaluated: Sequence[int]) -> dict[int, frozenset[int]]:
    _expect_mapping("label_sets", value, "number: [labels of the training classes]")
    sets = {}
    for number, labels in value.items():
        if type(number) is not int or number < 0:
            raise ValueError(f"label_sets has the number {number!r}; expected a whole number, 0 or more.")
        where = f"label set {number}"
        for label in _whole_numbers(where, labels):
            if label not in evaluated:
                raise ValueError(f"{where} names label {label}, which is not among the evaluated {list(evaluated)}.")
        _expect_distinct(where, labels)
        if len(labels) == len(evaluated):
            raise ValueError(f"{where} trains on every evaluated label; leave one out, so that there is one to test.")
        sets[number] = frozenset(labels)
    return sets


def _folds(value: Any) -> list[int]:
    boundaries = _whole_numbers("folds", value)
    if len(boundaries) < 3 or boundaries[0] != 0 or any(b <= a for a, b in pairwise(boundaries)):
        raise ValueError(
            f"folds is {boundaries}; expected rising boundaries of two folds or more, from 0 to the number of scans, "
            "such as [0, 4, 8, 12]."
        )
    longest = max(b - a for a, b in pairwise(boundaries))
    if boundaries[-1] - longest < 2:
        raise ValueError(
            f"folds {boundaries} test {longest} of {boundaries[-1]} scans at once; leave two or more, for the support "
            "scan and for training."
        )
    return boundaries


def _threshold(value: Any) -> float:
    if type(value) not in (int, float) or not math.isfinite(value):
        raise ValueError(f"foreground_threshold is {value!r}; expected a number, in the units of the images.")
    return float(value)


def _label_values(value: Any, classes: Mapping[str, int], evaluated: Sequence[int]) -> Mapping[int, int] | None:
    """Value in the label files -> label; 0 is background where the file does not say otherwise."""
    if value is None:
        return None
    _expect_mapping("label_values", value, "value in the label files: label")
    for stored, label in value.items():
        if type(stored) is not int:
            raise ValueError(f"label_values has the value {stored!r}; expected a whole number.")
        if type(label) is not int or label not in classes.values():
            raise ValueError(f"label_values maps {stored} to {label!r}, which is not in classes {dict(classes)}.")
    mapped = {0: 0, **value}
    for label in evaluated:
        if label not in mapped.values():
            raise ValueError(f"label_values maps no value to the evaluated label {label}; add its value.")
    return MappingProxyType(mapped)


def _folder(value: Any) -> str | None:
    if value is not None and (not isinstance(value, str) or not value):
        raise ValueError(f"default_folder is {value!r}; expected a path.")
    return value


def _expect_mapping(key: str, value: Any, entries: str) -> None:
    if not isinstance(value, Mapping) or not value:
        raise ValueError(f"{key} is {_kind(value)}; expected entries of the form {entries}.")


def _expect_distinct(where: str, labels: Sequence[int]) -> None:
    twice = [label for label in labels if labels.count(label) > 1]
    if twice:
        raise ValueError(f"{where} names label {twice[0]} twice; name it once.")


def _whole_numbers(where: str, value: Any) -> list[int]:
    if not isinstance(value, list) or not all(type(entry) is int for entry in value):
        raise ValueError(f"{where} is {value!r}; expected a list of whole numbers, such as [1, 2].")
    return value


def _kind(value: Any) -> str:
    return "empty" if value is None or value == {} else repr(value)
