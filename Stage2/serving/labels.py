"""The named labels of a workbench with their colours."""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from Stage2.drawing.masks import colour_of
from Stage2.io.text import one_line
from Stage2.serving.drawings import LARGEST_LABEL

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
    """The labels, and one named "label 7" for each value that none of them has."""
    known = {own.value for own in labels}
    new = [Label(value, f"label {value}", colour_of(value)) for value in sorted(set(values) - known - {0})]
    return sorted([*labels, *new], key=lambda own: own.value)
