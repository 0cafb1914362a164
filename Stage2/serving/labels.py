"""The named labels of a workbench with their colours."""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from Stage2.drawing.masks import colour_of
from Stage2.inference.masks import UNKNOWN
from Stage2.io.text import one_line
from Stage2.serving.drawings import values_of

LARGEST_LABEL = UNKNOWN - 1
LONGEST_NAME = 64
_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")


@dataclass(frozen=True)
class Label:
    """An organ: its value in the masks, its name, its colour as #rrggbb."""

    value: int
    name: str
    colour: str

    def plain(self) -> dict[str, Any]:
        return asdict(self)


def read_labels(content: Any, most: int) -> list[Label]:
    """Labels from what a client sent, by value.

    Raises:
        ValueError: no list of labels, a value twice or out of range, a name that is empty, long or twice, or no colour.
    """
    if not isinstance(content, list) or len(content) > most:
        raise ValueError(f"expected a list of up to {most} labels, each with value, name and colour.")
    found: list[Label] = []
    for own in content:
        value, name, colour = (own.get(key) if isinstance(own, dict) else None for key in ("value", "name", "colour"))
        if type(value) is not int or not 0 < value <= LARGEST_LABEL:
            raise ValueError(f"a label has the value {value!r}; expected a whole number from 1 to {LARGEST_LABEL}.")
        if not isinstance(name, str) or not one_line(name).strip() or len(name) > LONGEST_NAME:
            raise ValueError(f"label {value} needs a name of 1 to {LONGEST_NAME} characters.")
        if not isinstance(colour, str) or not _COLOUR.fullmatch(colour):
            raise ValueError(f"label {value} has no colour such as #e69f00; give one.")
        found.append(Label(value, one_line(name).strip(), colour.lower()))
    for key in ("value", "name"):
        values = [getattr(own, key) for own in found]
        twice = next((own for own in values if values.count(own) > 1), None)
        if twice is not None:
            raise ValueError(f"two labels have the {key} {twice}; give each its own.")
    return sorted(found, key=lambda own: own.value)


def with_values(labels: Sequence[Label], values: Sequence[int]) -> list[Label]:
    """The labels, and one named "label 7" for each value that none of them has, but for background and unknown."""
    known = {own.value for own in labels}
    new = [Label(value, f"label {value}", colour_of(value)) for value in sorted({*values} - known - {0, UNKNOWN})]
    return sorted([*labels, *new], key=lambda own: own.value)


def renumbered(voxels: np.ndarray, listed: Any, labels: Sequence[Label]) -> tuple[np.ndarray, list[Label]]:
    """A label map whose values are those of a client's own list, with the values that the labels of its names have.

    Args:
        voxels: as sent.
        listed: the client's names, each with its value in the map, as {"name": ..., "idx": ...}; what is something
            else, or lacks a value of the map, leaves the map as it is.
        labels: of the workbench.

    Returns:
        the map, and the labels with those that are new.

    Raises:
        ValueError: a name that cannot be one, or no value left for it.
    """
    entries = [own for own in listed if isinstance(own, dict)] if isinstance(listed, list) else []
    names = {own.get("idx"): one_line(str(own.get("name"))).strip() for own in entries if type(own.get("idx")) is int}
    shown = {int(value) for value in values_of(voxels) if value}
    if not shown or not shown <= names.keys():
        return voxels, list(labels)
    labels = with_names(labels, [names[value] for value in sorted(shown)])
    values = {own.name: own.value for own in labels}
    result = np.zeros_like(voxels)
    for value in shown:
        result[voxels == value] = values[names[value]]
    return result, labels


def with_names(labels: Sequence[Label], names: Sequence[str]) -> list[Label]:
    """The labels, and one of the lowest free value for each name that none of them has; raises ValueError where there
    is no value left."""
    found = list(labels)
    for name in names:
        if any(own.name == name for own in found):
            continue
        free = next((value for value in range(1, UNKNOWN) if all(own.value != value for own in found)), None)
        if free is None:
            raise ValueError(f"there are {len(found)} labels already; use one of them.")
        found.append(Label(free, name, colour_of(free)))
    return read_labels([own.plain() for own in found], LARGEST_LABEL)
