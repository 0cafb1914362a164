"""Checkpoint files: what is no file of weights or damaged is refused in one sentence, writing is atomic."""

import os
import pickle
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from bad_weights import BY_THE_READER, COMPLAINTS, write_bad_file
from mmengine.logging import HistoryBuffer
from safetensors.torch import save_file

from Stage1.weights.checkpoints import read_checkpoint, write_checkpoint


class Gadget:
    """Stands for code that a checkpoint must not be able to run."""


class Trap:
    """Runs a command when it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch {self.mark}",)


def write_pickle(content, path):
    path.write_bytes(pickle.dumps(content))


WRITERS = {
    "zip": torch.save,
    "legacy": lambda content, path: torch.save(content, path, _use_new_zipfile_serialization=False),
    "pickle": write_pickle,
}


@pytest.mark.parametrize("writer", WRITERS)
def test_code_in_a_file_is_named_and_not_run(tmp_path, writer):
    path, mark = tmp_path / "trap.pth", tmp_path / "mark"
    for content, name in ((Trap(mark), r"posix\.system"), (Gadget(), r"\S+\.Gadget")):
        WRITERS[writer]({"state_dict": {}, "x": content}, path)
        with pytest.raises(ValueError, match=rf"found code in .*trap\.pth \({name}\): loading it would run it"):
            read_checkpoint(path)
    assert not mark.exists()


def test_a_program_and_a_lookup_of_attributes_are_code(tmp_path):
    path = tmp_path / "program.pth"
    torch.jit.save(torch.jit.trace(torch.nn.Linear(1, 1), torch.zeros(1, 1)), path)
    with pytest.raises(ValueError, match=r"found code in .*TorchScript"):
        read_checkpoint(path)
    torch.save({"f": HistoryBuffer.update}, path)  # getattr, which a buffer's statistics need, of another method
    with pytest.raises(ValueError, match=r"found code in .*getattr"):
        read_checkpoint(path)
    torch.save({"buffer": HistoryBuffer([1.0], [1])}, path)
    assert read_checkpoint(path)["buffer"].current() == 1


@pytest.mark.parametrize("kind", BY_THE_READER)
def test_what_is_no_file_of_weights_is_one_sentence(tmp_path, kind):
    path = write_bad_file(kind, tmp_path, {"steps": torch.tensor([2]), "conv1.weight": torch.ones(4000)})
    with pytest.raises(ValueError, match=re.escape(COMPLAINTS[kind])) as error:
        read_checkpoint(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    assert "weights_only" not in str(error.value)
    with pytest.raises(FileNotFoundError, match=r"found no file .*absent\.pth"):
        read_checkpoint(tmp_path / "absent.pth")


@pytest.mark.parametrize("legacy", [False, True])
def test_every_damaged_byte_is_refused_or_harmless(tmp_path, legacy):
    """With checksums, whatever is read is right; without them (before torch 1.6), an answer is one sentence."""
    path, content = tmp_path / "x.pth", {"a": torch.arange(40.0), "b": {"c": torch.ones(3), "d": "text"}}
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    whole = path.read_bytes()
    random = np.random.default_rng(0)
    for place in random.choice(len(whole), 150, replace=False).tolist():
        path.write_bytes(whole[:place] + bytes([whole[place] ^ int(random.integers(1, 256))]) + whole[place + 1 :])
        try:
            found = read_checkpoint(path)
        except ValueError as error:
            assert len(str(error).splitlines()) == 1
            assert "weights_only" not in str(error)
            continue
        if not legacy:
            assert torch.equal(found["a"], content["a"])
            assert torch.equal(found["b"]["c"], content["b"]["c"])


@pytest.mark.parametrize("place", ["state_dict", "optimizer", None])
def test_numbers_that_are_not_finite_are_named(tmp_path, place):
    weights = {"whole": torch.ones(2), "broken": torch.tensor([1.0, torch.inf])}
    torch.save(weights if place is None else {place: weights}, tmp_path / "5.pth")
    name = "broken" if place is None else f"{place}.broken"
    with pytest.raises(ValueError, match=rf"not finite in {name} of .*5\.pth, .*take an earlier file"):
        read_checkpoint(tmp_path / "5.pth")


def test_files_of_mmengine_are_read_without_it(tmp_path):
    """A stand-in takes the place of its class in a process that has not imported it."""
    torch.save({"message_hub": {"loss": HistoryBuffer([1.0, 2.0], [1, 1])}, "a": torch.ones(2)}, tmp_path / "x.pth")
    program = (
        "import sys; from Stage1.weights.checkpoints import read_checkpoint; found = read_checkpoint(sys.argv[1])\n"
        "print(found['message_hub']['loss']._log_history, 'mmengine' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "x.pth"], env=os.environ, capture_output=True, text=True
    )
    assert done.stdout == "[1. 2.] False\n", done.stderr


def test_the_content_tells_the_format_whatever_the_name_is(tmp_path):
    save_file({"a": torch.ones(2)}, tmp_path / "x.pth")
    torch.save({"a": torch.ones(2)}, tmp_path / "x.safetensors")
    for path in tmp_path.iterdir():
        assert read_checkpoint(path)["a"].tolist() == [1, 1]


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "weights.pth"
    write_checkpoint({"state_dict": {"a": torch.ones(1)}}, path)

    def fail(content, file):
        file.write(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(OSError, match="no space"):
        write_checkpoint({}, path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["weights.pth"]
    assert read_checkpoint(path)["state_dict"]["a"].item() == 1
