"""Headings of folders: what is one, and that none is lost."""

import argparse
from pathlib import Path

import pytest

from Stage2.reporting.headings import check_distinct, headed_folder


@pytest.mark.parametrize(
    ("text", "heading", "folder"),
    [
        ("ours=exps/lr=0.01/run", "ours", "exps/lr=0.01/run"),
        ("exps/lr=0.01/run", "run", "exps/lr=0.01/run"),  # a folder as a whole
        ("lr=0.01=exps/lr=0.01/run", "lr=0.01", "exps/lr=0.01/run"),
        ("ours=exps/gone=1", "ours", "exps/gone=1"),
        ("exps/gone", "gone", "exps/gone"),
        ("exps/test/3", "test/3", "exps/test/3"),
    ],
)
def test_headings_end_before_the_folder(tmp_path: Path, monkeypatch, text: str, heading: str, folder: str):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "exps" / "lr=0.01" / "run").mkdir(parents=True)
    assert headed_folder(text) == (heading, Path(folder))


@pytest.mark.parametrize("text", ["", "=exps", "ours="])
def test_an_empty_heading_or_folder_is_refused(text: str):
    with pytest.raises(argparse.ArgumentTypeError, match=r"\[HEADING=\]FOLDER"):
        headed_folder(text)


def test_a_heading_stands_once():
    check_distinct([("a", Path("x")), ("b", Path("x"))])
    with pytest.raises(ValueError, match=r"x and y are both headed 'a'; give each its own, as HEADING=FOLDER"):
        check_distinct([("a", Path("x")), ("b", Path("z")), ("a", Path("y"))])
