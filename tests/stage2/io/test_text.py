"""Text that every reader bears."""

import csv
import io
import math

import pytest

from Stage2.io.text import csv_text, duration, one_line


def test_csv_leaves_out_columns_that_no_row_has():
    text = csv_text([{"a": 1, "b": None}, {"a": 'x"y', "b": 2, "d": 0}], ["a", "b"], ["c", "d"])
    assert list(csv.reader(io.StringIO(text))) == [["a", "b", "d"], ["1", "", ""], ['x"y', "2", "0"]]


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t=", "\r=", "\n=", "\uff1d"])
def test_no_cell_is_a_formula(start: str):
    text = csv_text([{"a": f"{start}1+cmd|' /C calc'!A0", f"{start}b": "x"}], ["a", f"{start}b"])
    (_, heading), (cell, _) = csv.reader(io.StringIO(text))
    assert cell[0] == heading[0] == "'"


def test_numbers_stay_numbers():
    text = csv_text([{"a": -0.5, "b": "-0.5", "c": "+3", "d": math.nan, "e": "-inf", "f": "a-b"}], "abcdef")
    assert text == "a,b,c,d,e,f\n-0.5,-0.5,+3,,-inf,a-b\n"


def test_text_is_in_one_line_without_control_characters():
    assert one_line("a\tb\r\nc\x00\x1b\udcffé $") == "a b  c\ufffd\ufffd\ufffdé $"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "0 s"), (59.6, "1 min 0 s"), (61, "1 min 1 s"), (3600, "1 h 0 min"), (7325, "2 h 2 min"), (9e4, "1 d 1 h")],
)
def test_durations_in_words(seconds, words):
    assert duration(seconds) == words
