"""The command that makes the starting network: a file that adapting can start from, the same again, in few bytes."""

from pathlib import Path

import pytest
from stage2.toy_encoder import PLACE
from tool_modules import load_tool

from Stage2.adaptation.network_file import STARTING, read_network
from Stage2.models.registry import ENCODERS
from Stage2.starting.drawn_slices import CLASSES

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def tool():
    return load_tool("make_starting_network")


@pytest.fixture
def toy(monkeypatch) -> str:
    monkeypatch.setitem(ENCODERS, "toy", PLACE)
    return "toy"


def test_the_same_settings_give_the_same_file(tool, toy, tmp_path, caplog):
    def make(name: str, *more: str) -> bytes:
        out = tmp_path / f"{name}.safetensors"
        given = ["--out", out, "--work", tmp_path / name, "--encoder", toy, "--steps", 2, "--batch", 2, *more]
        assert tool.main([str(value) for value in (*given, "--anatomies", 1)]) == 0
        return out.read_bytes()

    with caplog.at_level("INFO"):
        first = make("one")
    assert "step 2 of 2: loss" in caplog.text and "SHA-256" in caplog.text
    assert make("two") == first
    assert make("three", "--seed", "5") != first
    network, described = read_network(tmp_path / "one.safetensors")
    assert described["kind"] == STARTING and described["classes"] == ["background", *CLASSES]
    assert len(network.head.members) == 1 + len(CLASSES)


def test_a_state_of_other_settings_is_one_line(tool, toy, tmp_path, capsys):
    given = ["--work", str(tmp_path), "--encoder", toy, "--batch", "2", "--anatomies", "1"]
    assert tool.main([*given, "--out", str(tmp_path / "one.safetensors"), "--steps", "1"]) == 0
    assert tool.main([*given, "--out", str(tmp_path / "two.safetensors"), "--steps", "2"]) == 1
    assert "is the state of another recipe" in capsys.readouterr().err
    assert not (tmp_path / "two.safetensors").exists()


@pytest.mark.parametrize("out", ["", "state.pth"])
def test_neither_a_folder_nor_the_state_is_written_over(tool, tmp_path, capsys, out):
    assert tool.main(["--work", str(tmp_path), "--out", str(tmp_path / out)]) == 1
    assert "is a folder, or the state that a run goes on from" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) in ([], [tmp_path / ".lock"])
