"""Text files appear whole or not at all."""

from pathlib import Path

import pytest

from Stage1.files import write_text


def test_a_file_is_written_in_utf8_and_replaced(tmp_path: Path):
    path = tmp_path / "table.md"
    for text in ("0.3 ± 0.1\n", "again\n"):
        write_text(path, text)
        assert path.read_bytes() == text.encode()
    assert [entry.name for entry in tmp_path.iterdir()] == ["table.md"]


def test_what_cannot_be_written_leaves_the_file_as_it_was(tmp_path: Path):
    path = tmp_path / "table.md"
    write_text(path, "first\n")
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "half \udc80")
    assert path.read_text() == "first\n"
    assert [entry.name for entry in tmp_path.iterdir()] == ["table.md"]
