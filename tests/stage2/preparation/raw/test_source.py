"""Folders and archives are read in one way; damaged archives are named."""

import pickle
import re
import zipfile
from pathlib import Path

import pytest
from stage2.preparation.drawn_archives import zip_folder

from Stage2.preparation.raw.source import open_source


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b/two.txt", "b/._two.txt", "a.txt", ".hidden/x.txt", "__MACOSX/b/two.txt", "b/.DS_Store"):
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name * 50)
    return tmp_path / "data"


def test_a_folder_and_its_archive_are_the_same(folder, tmp_path):
    archive = zip_folder(folder, tmp_path / "data.zip")
    for path in (folder, archive):
        source = pickle.loads(pickle.dumps(open_source(path)))
        assert source.names == ["a.txt", "b/two.txt"]
        with source.open(["b/two.txt"]) as paths:
            assert paths["b/two.txt"].read_text() == "b/two.txt" * 50
        if source.is_archive:
            assert not paths["b/two.txt"].exists()


def test_errors_name_members_by_their_place_in_the_archive(folder, tmp_path):
    archive = zip_folder(folder, tmp_path / "data.zip")
    with pytest.raises(ValueError) as error, open_source(archive).open(["a.txt"]) as paths:
        raise ValueError(f"{paths['a.txt']} is wrong.")
    assert str(error.value) == f"{archive}: a.txt is wrong."


def test_a_stamp_changes_with_the_content(folder):
    before = open_source(folder).stamp("a.txt")
    assert open_source(folder).stamp("a.txt") == before
    (folder / "a.txt").write_text("other")
    assert open_source(folder).stamp("a.txt") != before


def damage_member(archive: Path) -> None:
    content = bytearray(archive.read_bytes())
    content[content.index(b"a.txt") + 8] ^= 0xFF
    archive.write_bytes(content)


def encrypt(archive: Path) -> None:
    """Set the flags that say that members have a password."""
    content = bytearray(archive.read_bytes())
    for signature, flags in ((rb"PK\x03\x04", 6), (rb"PK\x01\x02", 8)):
        for found in re.finditer(signature, bytes(content)):
            content[found.start() + flags] |= 1
    archive.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (damage_member, "data.zip is damaged .*download it again"),
        (encrypt, "data.zip cannot be unpacked .*unpack it by hand"),
        (lambda archive: archive.write_bytes(archive.read_bytes()[:-30]), "no whole zip archive; download it again"),
        (lambda archive: archive.write_text("<html>"), "no whole zip archive"),
        (lambda archive: archive.unlink(), "does not exist; expected the downloaded archive"),
        (lambda archive: zipfile.ZipFile(archive, "w").close(), "holds no files"),
    ],
    ids=["damaged member", "password", "cut short", "no archive", "missing", "empty"],
)
def test_damaged_archives(folder, tmp_path, damage, message):
    archive = zip_folder(folder, tmp_path / "data.zip")
    damage(archive)
    with pytest.raises((ValueError, FileNotFoundError), match=message):  # noqa: SIM117
        with open_source(archive).open(["a.txt"]):
            pass
