"""Files appear whole or not at all; a folder has one writer."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from Stage1.files import LOCK, locked, printable, remove_partial, whole_file, write_text


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


@pytest.mark.parametrize("below", ["out", "out/deep"])
def test_a_file_where_the_folder_should_be_is_one_sentence(tmp_path: Path, below: str):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"t.md could not be written \(Not a directory\); make room or give another"):
        write_text(tmp_path / "file" / below / "t.md", "text")


def test_what_killed_processes_left_is_removed(tmp_path: Path):
    for kind in ("file", "folder"):
        with pytest.raises(KeyboardInterrupt), whole_file(tmp_path / kind) as path:
            left = path.name
            raise KeyboardInterrupt
        (tmp_path / left).mkdir() if kind == "folder" else (tmp_path / left).touch()
    (tmp_path / "kept").touch()
    remove_partial(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_a_second_writer_is_refused_with_the_name_of_the_first(tmp_path: Path):
    script = f"from Stage1.files import locked\nwith locked({str(tmp_path)!r}): print('in', flush=True), input()"
    holder = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    holder.stdout.readline()
    sentence = f"^process {holder.pid} on .* works in {re.escape(str(tmp_path))}; wait until it ends, stop it, or"
    with pytest.raises(OSError, match=sentence), locked(tmp_path):
        pytest.fail("two writers")
    holder.kill()
    holder.wait()
    assert (tmp_path / LOCK).exists(), "a kill leaves it, and it keeps nobody out"
    with locked(tmp_path):
        assert str(os.getpid()) in (tmp_path / LOCK).read_text()
    assert not list(tmp_path.iterdir())


def test_bytes_of_names_are_escaped():
    assert printable(os.fsdecode(b"caf\xe9 \xc3\xa9")) == "caf\\xe9 é"
