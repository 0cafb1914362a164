"""README and docs are short enough to be read: words, lines, sentences."""

import re
from pathlib import Path

import pytest
from docs.pages import PAGES, README, name_of, sentences, without_code, without_output, words

MOST_WORDS, LONGEST_LINE, LONGEST_SENTENCE = 1300, 120, 30
RIDDLES = re.compile(r"\b(recipes?|standing of|tail of|of_class)\b", re.I)


def test_the_readme_is_short():
    assert len(README.read_text().split()) <= MOST_WORDS
    assert [line for line in README.read_text().splitlines() if len(line) > LONGEST_LINE] == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_lines_are_short(page: Path):
    """But for rows of tables, which Markdown cannot break, and what programs print."""
    lines = without_output(page.read_text()).splitlines()
    assert [line for line in lines if len(line) > LONGEST_LINE and not line.startswith("|")] == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_sentences_are_short(page: Path):
    long = [sentence for sentence in sentences(page.read_text()) if words(sentence) >= LONGEST_SENTENCE]
    assert long == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_words_are_those_of_the_field(page: Path):
    assert RIDDLES.findall(without_code(page.read_text())) == []


def test_sentences_are_told_apart():
    text = "One thing. Two\nthings, e.g. this (Fan et al., 2023).\n\n| a | b c. D. |\n|---|---|\n" \
        "- item `x.y z` of it\n- last"
    assert [words(one) for one in sentences(text)] == [2, 8, 1, 2, 1, 4, 1]
