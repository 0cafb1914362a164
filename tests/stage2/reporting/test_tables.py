"""One table, three ways to write it down."""

import math
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from Stage2.reporting.latex import PREAMBLE, as_latex
from Stage2.reporting.tables import Table, as_markdown, number

TABLE = Table(
    "a_b & c", "Protocol `paper`.", ["Dice", "50 % | x"], [["R_K", "0.500 ± 0.010"], ["mean", "missing"]], ["<note>."],
    frozenset({1}),
)  # fmt: skip


def test_markdown():
    assert as_markdown(TABLE) == "\n".join(
        [
            "### a_b & c", "", "Protocol `paper`.", "",
            "| Dice     |     50 % \\| x |",
            "| -------- | ------------: |",
            "| R_K      | 0.500 ± 0.010 |",
            "| **mean** |       missing |",
            "", "<note>.",
        ]
    )  # fmt: skip


def test_latex_escapes_what_it_must():
    text = as_latex(TABLE)
    assert r"\caption{a\_b \& c. Protocol \texttt{paper}. $<$note$>$.}" in text
    assert r"Dice & 50 \% | x \\" in text
    assert r"R\_K & 0.500 $\pm$ 0.010 \\" in text
    assert "\\textbf{mean} & \\textbf{missing} \\\\" in text
    assert text.count(r"\begin") == text.count(r"\end") == 2
    assert not re.search(r"(?<!\\)[_%]", text)


HOSTILE = [
    "\\input{/etc/passwd}", "$x^{2}", "a_b~^#%&", "[x]", "\x00\x1b\r\n", "\udcff", "肝 Żółw ą ð", "``", "-", "*<|>\"",
]  # fmt: skip


def test_names_with_any_character_stay_in_their_cell():
    table = Table(HOSTILE[0], HOSTILE[1], HOSTILE, [HOSTILE, HOSTILE], HOSTILE, frozenset({1}))
    latex = as_latex(table)
    assert all(character.isprintable() or character == "\n" for character in latex)
    rows = [line for line in latex.splitlines() if line.endswith(r" \\")]
    assert [len(re.findall(r"(?<!\\)&", row)) for row in rows] == [len(HOSTILE) - 1] * 3
    assert r"\textbackslash{}input\{/etc/passwd\}" in latex
    assert "? Żółw ? ?" in latex
    lines = [line for line in as_markdown(table).splitlines() if line.startswith("|")]
    assert len({line.count(" | ") for line in lines}) == 1


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="LaTeX is not installed")
def test_latex_compiles_with_any_name(tmp_path: Path):
    table = Table(HOSTILE[0], HOSTILE[1], HOSTILE, [HOSTILE, HOSTILE], HOSTILE, frozenset({1}))
    (tmp_path / "results.tex").write_text(PREAMBLE + as_latex(table), encoding="utf-8")
    (tmp_path / "main.tex").write_text(
        r"\documentclass{article}\usepackage{booktabs}\begin{document}\input{results.tex}\end{document}"
    )
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "main.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]


def test_numbers():
    assert [number(None), number(math.nan), number(0.5), number(0.5, 0.0126)] == ["-", "-", "0.500", "0.500 ± 0.013"]
    assert number(12.345, 1, 1) == "12.3 ± 1.0"
