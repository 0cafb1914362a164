"""Folders and archives are read in one way; damaged archives are named."""

import pickle
import re
import zipfile
from pathlib import Path

import pytest
from stage2.preparation.drawn_archives import zip_folder

from Stage2.preparation.raw import source as source_module
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


def write_zip(path: Path, members: dict[str, bytes], packed: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", packed) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, packed)
    return path


def test_names_with_backslashes_are_read(tmp_path):
    archive = write_zip(tmp_path / "data.zip", {"img\\img0001.txt": b"one", "label\\": b"", "a.txt": b"two"})
    source = open_source(archive)
    assert source.names == ["a.txt", "img/img0001.txt"]
    with source.open(source.names) as paths:
        assert [path.read_bytes() for path in paths.values()] == [b"two", b"one"]


@pytest.mark.parametrize("name", ["../evil.txt", "img/../../evil.txt", "..\\evil.txt", "/etc/evil", "C:\\evil.txt"])
def test_names_that_lead_out_of_the_folder_are_refused(tmp_path, name):
    archive = write_zip(tmp_path / "data.zip", {"a.txt": b"one", name: b"evil"})
    with pytest.raises(ValueError, match=r"data\.zip holds .*evil.*, which leads out of the folder"):
        open_source(archive)


@pytest.mark.parametrize("packed", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_what_unpacks_to_far_more_is_refused_before(tmp_path, packed):
    archive = write_zip(tmp_path / "data.zip", {"a.txt": bytes(50 << 20)}, packed)
    with pytest.raises(ValueError, match=r"a\.txt and what belongs to it unpack from \d+ to 52428800 bytes"):  # noqa: SIM117
        with open_source(archive).open(["a.txt"], tmp_path):
            pass
    assert [path.name for path in tmp_path.iterdir()] == ["data.zip"]


def test_sizes_are_compared_with_the_limit_and_the_disk(folder, tmp_path, monkeypatch):
    archive = zip_folder(folder, tmp_path / "data.zip")
    monkeypatch.setattr(source_module.shutil, "disk_usage", lambda path: type("usage", (), {"free": 10}))
    with pytest.raises(OSError, match=r"a\.txt unpacks to 250 bytes, but .* has 10; make room"):  # noqa: SIM117
        with open_source(archive).open(["a.txt"]):
            pass
    monkeypatch.setattr(source_module, "MAX_BYTES", 200)
    with pytest.raises(ValueError, match=r"expected up to 200, and 1100 times as many as packed"):  # noqa: SIM117
        with open_source(archive).open(["a.txt"]):
            pass


def test_a_link_to_nowhere_is_a_name_and_not_left_out(tmp_path):
    (tmp_path / "a.nii.gz").symlink_to(tmp_path / "nowhere")
    source = open_source(tmp_path)
    assert source.names == ["a.nii.gz"] and source.stamp("a.nii.gz")
