"""Files of networks come back as they were; what is damaged, foreign or of another version is refused in a sentence."""

import json
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from Stage2.adaptation.network import AdaptedNetwork
from Stage2.adaptation.network_file import ADAPTED, KEY, SCALE, STARTING, describe_file, read_network, write_network

DESCRIBED = {"labels": [2, 3], "name": "é", "share": 0.1}


@pytest.fixture
def network(toy) -> AdaptedNetwork:
    torch.manual_seed(1)
    return AdaptedNetwork(toy, torch.tensor([0, 1, 2, 1])).eval()


@pytest.fixture
def path(network, tmp_path) -> Path:
    write_network(tmp_path / "a.safetensors", ADAPTED, network, DESCRIBED)
    return tmp_path / "a.safetensors"


def rewritten(path: Path, change, described: dict | str | None = None) -> None:
    """The file with other tensors, or another description."""
    tensors = load_file(path)
    change(tensors)
    text = json.dumps(describe_file(path) | (described or {})) if not isinstance(described, str) else described
    save_file(tensors, path, metadata={KEY: text})


def test_a_network_comes_back_as_it_was(network, path):
    found, described = read_network(path)
    assert not found.training
    assert described == {"version": 1, "kind": ADAPTED, "encoder": "toy", **DESCRIBED} == describe_file(path)
    images = torch.randn(1, 3, 32, 32)
    with torch.inference_mode():
        assert torch.equal(found(images), network(images))


def test_8_bit_weights_are_near_and_smaller(network, path, tmp_path):
    small = tmp_path / "small.safetensors"
    write_network(small, STARTING, network, DESCRIBED, small=True)
    assert small.stat().st_size < 0.5 * path.stat().st_size
    own, found = network.state_dict(), read_network(small)[0].state_dict()
    for key, value in own.items():
        if value.ndim == 4:
            bound = value.abs().amax(dim=(1, 2, 3), keepdim=True) / 127 / 2
            assert ((found[key] - value).abs() <= 1.01 * bound + 1e-9).all()
        else:
            assert torch.equal(found[key], value)


def test_what_is_no_file_of_this_program_has_no_description(tmp_path):
    save_file({"a": torch.zeros(1)}, tmp_path / "foreign.safetensors")
    (tmp_path / "text.safetensors").write_text("weights")
    torch.save({}, tmp_path / "a.pth")
    for name in ("foreign.safetensors", "text.safetensors", "a.pth", "absent.safetensors", ""):
        assert describe_file(tmp_path / name) is None


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999])
def test_truncated_files_are_refused(path, share):
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    refused(path, "not a readable checkpoint|an empty file")


@pytest.mark.parametrize(
    ("change", "described", "sentence"),
    [
        (lambda t: None, {"version": 2}, "is of version 2 of its format, and this program reads 1"),
        (lambda t: None, {"kind": "recipe"}, "has a damaged description"),
        (lambda t: None, "{", "has a damaged description"),
        (lambda t: None, "[1]", "has a damaged description"),
        (lambda t: None, "[" * 100_000, "has a damaged description"),
        (lambda t: None, {"encoder": None}, "lacks its encoder or its head"),
        (lambda t: None, {"encoder": "dlfcn_res18"}, "does not fit its encoder, dlfcn_res18"),
        (lambda t: None, {"encoder": "nothing"}, "encoder=nothing is unknown"),
        (lambda t: t.pop("head.assignment"), None, "lacks its encoder or its head"),
        (lambda t: t.update({"head.assignment": torch.zeros(0).long()}), None, "has a damaged head"),
        (lambda t: t.update({"head.assignment": torch.tensor([0, 10**12])}), None, "has a damaged head"),
        (lambda t: t.update({"head.assignment": torch.tensor([-1, 0, 1, 2])}), None, "has a damaged head"),
        (lambda t: t.update({"head.assignment": torch.tensor([0, 2, 2, 2])}), None, "expected every class once"),
        (lambda t: t.pop("head.parts.bias"), None, "1 missing: head.parts.bias"),
        (lambda t: t.update({"more": torch.zeros(1)}), None, "1 not in the model: more"),
        (lambda t: t.update({"head.parts.bias": torch.zeros(9)}), None, "1 of another shape"),
        (lambda t: t.update({"head.parts.bias": torch.full((4,), torch.nan)}), None, "not finite"),
        (lambda t: t.update({"head.parts.weight": t["head.parts.weight"].to(torch.int8)}), None, "is of torch.int8"),
        (
            lambda t: t.update({
                "head.parts.weight": t["head.parts.weight"].to(torch.int8),
                "head.parts.weight" + SCALE: torch.ones(3),
            }),
            None,
            "is of torch.int8",
        ),
    ],
)  # fmt: skip
def test_damaged_and_foreign_content_is_refused(path, change, described, sentence):
    rewritten(path, change, described)
    refused(path, sentence)


def test_weights_without_a_description_are_refused(network, path, snapshot):
    save_file(network.state_dict(), path)
    refused(path, "is no network that was adapted or made to start from")
    refused(snapshot, "is no network that was adapted or made to start from")


def test_no_code_is_run(path, tmp_path):
    class Touch:
        def __reduce__(self):
            return Path.touch, (tmp_path / "run",)

    path.write_bytes(pickle.dumps({"a": Touch()}, protocol=2))
    refused(path, "found code in")
    assert not (tmp_path / "run").exists()


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="found no file"):
        read_network(tmp_path / "absent.safetensors")


def refused(path: Path, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence) as error:
        read_network(path)
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value) or "unknown" in str(error.value) or "every class" in str(error.value)
