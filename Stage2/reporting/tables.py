"""Tables as values, and as Markdown, LaTeX and HTML text."""

import html
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

UNDEFINED = "-"
MISSING = "missing"
_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "<": r"$<$", ">": r"$>$", "*": r"$*$",
}  # fmt: skip


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
    if value is None:
        return UNDEFINED
    return f"{value:.{digits}f}" if sd is None else f"{value:.{digits}f} ± {sd:.{digits}f}"


def as_markdown(table: Table, level: int = 3) -> str:
    """Heading, setting, table and notes."""
    rows = [[f"**{row[0]}**", *row[1:]] if index in table.strong else list(row) for index, row in enumerate(table.rows)]
    parts = [f"{'#' * level} {table.title}"] if table.title else []
    parts += [table.setting] if table.setting else []
    return "\n\n".join([*parts, markdown_table(table.header, rows), *table.notes])


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table whose columns line up as plain text too; first column left, others right aligned."""
    table = [[_markdown(cell) for cell in row] for row in (header, *rows)]
    widths = [max(3, *(len(row[column]) for row in table)) for column in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        first, *rest = cells
        return " | ".join([first.ljust(widths[0]), *(c.rjust(w) for c, w in zip(rest, widths[1:], strict=True))])

    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join(f"| {text} |" for text in [line(table[0]), " | ".join(rule), *map(line, table[1:])])


def as_latex(table: Table) -> str:
    r"""A `table` environment for LaTeX with the booktabs package; the notes are part of the caption."""
    caption = " ".join(part for part in (table.title + "." if table.title else "", table.setting, *table.notes) if part)
    body = [
        (r"\midrule" + "\n" if index in table.strong and index else "")
        + " & ".join(_strong_latex(cell) if index in table.strong else latex_text(cell) for cell in row)
        + r" \\"
        for index, row in enumerate(table.rows)
    ]
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{latex_text(caption)}}}",
            rf"\begin{{tabular}}{{l{'r' * (len(table.header) - 1)}}}",
            r"\toprule",
            " & ".join(map(latex_text, table.header)) + r" \\",
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
        ]
    )


def latex_text(text: str) -> str:
    r"""Text with LaTeX's special characters escaped; words in `` ` `` as \texttt."""
    parts = text.split("`")
    escaped = ["".join(_LATEX.get(character, character) for character in part) for part in parts]
    return "".join(rf"\texttt{{{part}}}" if index % 2 else part for index, part in enumerate(escaped))


def as_html(table: Table) -> str:
    """Setting, table and notes; headings are the page's."""
    head = "".join(f"<th>{html_text(cell)}</th>" for cell in table.header)
    rows = []
    for index, row in enumerate(table.rows):
        first, *rest = row
        cells = f"<td>{_breakable(first)}</td>"
        cells += "".join(f"<td{_html_class(cell)}>{html_text(cell)}</td>" for cell in rest)
        rows.append(f"<tr{' class=strong' if index in table.strong else ''}>{cells}</tr>")
    setting = f"<p class=setting>{html_text(table.setting)}</p>" if table.setting else ""
    notes = "".join(f"<p class=note>{html_text(note)}</p>" for note in table.notes)
    body = "\n".join(rows)
    table_text = f"<table><thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table>"
    return f"{setting}<div class=wide>{table_text}</div>{notes}"


def html_text(text: str) -> str:
    """Text for a page; words in `` ` `` as code."""
    return re.sub(r"`([^`]*)`", r"<code>\1</code>", html.escape(text))


def _markdown(cell: str) -> str:
    return cell.replace("|", r"\|")


def _strong_latex(cell: str) -> str:
    return rf"\textbf{{{latex_text(cell)}}}"


def _breakable(name: str) -> str:
    """A long name may go on in the next line after a slash or an underscore."""
    return re.sub(r"([/_])", r"\1<wbr>", html_text(name))


def _html_class(cell: str) -> str:
    return " class=missing" if cell == MISSING else ""
