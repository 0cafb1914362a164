"""Tables as LaTeX, which any name in them leaves whole."""

import unicodedata

import pandas as pd

from Stage2.io.text import one_line
from Stage2.reporting.tables import Table

PREAMBLE = "% needs \\usepackage{booktabs}\n"
ESCAPES = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "<": r"$<$", ">": r"$>$", "*": r"$*$",
    "[": "{[}", "]": "{]}",
}  # fmt: skip
OGONEK = "\u0328"  # an accent that LaTeX's default font encoding lacks


def as_latex(table: Table) -> str:
    r"""A `table` environment for LaTeX with the booktabs package; the notes are part of the caption."""
    caption = " ".join(part for part in (table.title + "." if table.title else "", table.setting, *table.notes) if part)
    frame = pd.DataFrame([[latex_text(cell) for cell in row] for row in table.rows])
    header = [latex_text(cell).replace("{", "{{").replace("}", "}}") for cell in table.header]  # pandas formats them
    style = frame.style.hide(axis="index").relabel_index(header, axis="columns")
    style = style.map(lambda _: "textbf:--rwrap;", subset=pd.IndexSlice[sorted(table.strong), :])
    return style.to_latex(
        caption=latex_text(caption), column_format="l" + "r" * (len(table.header) - 1), hrules=True,
        position_float="centering",
    )  # fmt: skip


def latex_text(text: str) -> str:
    r"""Text with LaTeX's special characters escaped, and ? for letters it has not; words in `` ` `` as \texttt."""
    parts = ["".join(map(_letter, part)) for part in one_line(text).split("`")]
    return "".join(rf"\texttt{{{part}}}" if index % 2 else part for index, part in enumerate(parts))


def _letter(character: str) -> str:
    base, *accents = unicodedata.normalize("NFD", character)
    accented = "À" <= character < "ƀ" and base.isascii() and OGONEK not in accents
    known = character.isascii() or character in "ßæøœłÆØŒŁ" or accented
    return ESCAPES.get(character, character if known else "?")
