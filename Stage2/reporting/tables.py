"""Tables as values, and as Markdown text."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from Stage2.io.text import one_line

UNDEFINED = "-"
MISSING = "missing"


@dataclass(frozen=True)
class Table:
    """Rows of text under a header; first column left, others right aligned.

    Attributes:
        title: what the table is of; empty: it needs no heading.
        setting: a sentence that says protocol, data set and label set; words in `` ` `` are names.
        header: of the columns.
        rows: cells as text.
        notes: sentences below.
        strong: indices of the rows that stand out, such as means.
    """

    title: str
    setting: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()
    strong: frozenset[int] = frozenset()


def number(value: float | None, sd: float | None = None, digits: int = 3) -> str:
    """A value, with ± its standard deviation where there is one."""
    if value is None or math.isnan(value):
        return UNDEFINED
    plain = sd is None or math.isnan(sd)
    return f"{value:.{digits}f}" if plain else f"{value:.{digits}f} ± {sd:.{digits}f}"


def as_markdown(table: Table, level: int = 3) -> str:
    """Heading, setting, table and notes."""
    rows = [[f"**{row[0]}**", *row[1:]] if index in table.strong else list(row) for index, row in enumerate(table.rows)]
    parts = [f"{'#' * level} {one_line(table.title)}"] if table.title else []
    parts += [one_line(table.setting)] if table.setting else []
    return "\n\n".join([*parts, markdown_table(table.header, rows), *map(one_line, table.notes)])


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table whose columns line up as plain text too; first column left, others right aligned."""
    table = [[_markdown(cell) for cell in row] for row in (header, *rows)]
    widths = [max(3, *(len(row[column]) for row in table)) for column in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        first, *rest = cells
        return " | ".join([first.ljust(widths[0]), *(c.rjust(w) for c, w in zip(rest, widths[1:], strict=True))])

    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join(f"| {text} |" for text in [line(table[0]), " | ".join(rule), *map(line, table[1:])])


def _markdown(cell: str) -> str:
    return one_line(cell).replace("|", r"\|")
