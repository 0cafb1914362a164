"""One table, three ways to write it down."""

import re
from html.parser import HTMLParser

from Stage2.reporting.tables import Table, as_html, as_latex, as_markdown, number

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
    assert "\\midrule\n\\textbf{mean} & \\textbf{missing} \\\\" in text
    assert text.count(r"\begin") == text.count(r"\end") == 2
    assert not re.search(r"(?<!\\)[_%]", text)


def test_html_is_well_formed_and_escaped():
    found = []
    parser = HTMLParser()
    parser.handle_data = found.append
    parser.feed(as_html(TABLE).replace("<wbr>", ""))
    assert [text.strip() for text in found if text.strip()] == [
        "Protocol", "paper", ".", "Dice", "50 % | x", "R_K", "0.500 ± 0.010", "mean", "missing", "<note>.",
    ]  # fmt: skip
    assert "<td class=missing>missing</td>" in as_html(TABLE)


def test_numbers():
    assert [number(None), number(0.5), number(0.5, 0.0126)] == ["-", "0.500", "0.500 ± 0.013"]
    assert number(12.345, 1, 1) == "12.3 ± 1.0"
