"""Which engine a request means; a request that contradicts itself is refused in one line."""

import json
from pathlib import Path

import pytest
import SimpleITK as sitk
import torch
from safetensors.torch import load_file, save_file
from stage2.drawn import drawn_scan

from Stage2.adaptation.confidence import Reference
from Stage2.adaptation.network import AdaptedNetwork
from Stage2.adaptation.network_file import ADAPTED, KEY, STARTING, describe_file, write_network
from Stage2.inference.adapted_predictor import Adapted
from Stage2.inference.engines import (
    AdaptedFileEngine,
    AdaptingEngine,
    Engine,
    PrototypeEngine,
    engine_for,
)
from Stage2.inference.query import settings_of
from Stage2.inference.request import Request
from Stage2.inference.transform import scan_transform
from Stage2.io.scans import ScanFile

DESCRIBED = {"start": "random", "steps": 3, "minutes": 0.1, "supports": [{"scan": "s", "mask": "m"}]}


@pytest.fixture
def case(toy, snapshot, tmp_path, monkeypatch) -> Path:
    """A folder with a scan, its mask, an adapted network, a starting network and a snapshot."""
    monkeypatch.setattr("Stage2.adaptation.settings.STARTING_NETWORK", tmp_path / "none")
    for name, image in zip(("scan", "mask"), drawn_scan((40, 32, 3), (5.0, 5.0, 10.0)), strict=True):
        sitk.WriteImage(image, str(tmp_path / f"{name}.nii.gz"))
    torch.manual_seed(0)
    network = AdaptedNetwork(toy, 2).eval()
    reference = Reference(((1.0, 2.0),) * 2)
    adapted = Adapted(network, (2, 3), scan_transform("MR", axes="LAS"), 64, reference, DESCRIBED | {"names": ["a"]})
    write_network(tmp_path / "adapted.safetensors", ADAPTED, network, adapted.description())
    write_network(tmp_path / "starting.safetensors", STARTING, network, {})
    (tmp_path / "damaged.safetensors").write_bytes((tmp_path / "adapted.safetensors").read_bytes()[:999])
    (tmp_path / "5.pth").symlink_to(snapshot)
    return tmp_path


def engine(case: Path, checkpoint: str | None = None, supported: bool = True, **changes) -> Engine:
    pairs = [(case / "scan.nii.gz", case / "mask.nii.gz")] if supported else []
    file = None if checkpoint is None else case / checkpoint
    request = Request(query=case, out=case / "out", supports=pairs, checkpoint=file, **changes)
    return engine_for(request, [(ScanFile(scan), ScanFile(mask)) for scan, mask in pairs])


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, AdaptingEngine),
        ({"approach": "adapted", "adapt": 0.5}, AdaptingEngine),
        ({"checkpoint": "5.pth"}, AdaptingEngine),
        ({"checkpoint": "starting.safetensors"}, AdaptingEngine),
        ({"checkpoint": "adapted.safetensors", "adapt": 1.0}, AdaptingEngine),
        ({"checkpoint": "adapted.safetensors", "supported": False}, AdaptedFileEngine),
        ({"checkpoint": "adapted.safetensors", "supported": False, "approach": "adapted"}, AdaptedFileEngine),
        ({"checkpoint": "5.pth", "approach": "prototypes", "labels": [2], "modality": "MR"}, PrototypeEngine),
    ],
)
def test_the_engine_that_is_meant(case, given, expected):
    assert type(engine(case, **given)) is expected


FILE = {"checkpoint": "adapted.safetensors", "supported": False}
SNAPSHOT = {"checkpoint": "5.pth", "approach": "prototypes", "labels": [2], "modality": "MR"}


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"supported": False}, "--support SCAN MASK is missing: only a network of tools/adapt.py does without it."),
        ({"supported": False, "checkpoint": "5.pth"}, "5.pth is not, or damaged"),
        ({"supported": False, "checkpoint": "starting.safetensors"}, "starting.safetensors is not, or damaged"),
        ({"supported": False, "checkpoint": "damaged.safetensors"}, "damaged.safetensors is not, or damaged"),
        ({"supported": False, "checkpoint": "absent.safetensors"}, "absent.safetensors does not exist"),
        (FILE | {"approach": "prototypes"}, "is an adapted network and has no prototypes; leave --method out"),
        (FILE | {"adapt": 1.0}, "--adapt needs --support SCAN MASK"),
        (FILE | {"supported": True}, "is adapted already; leave --support out, or let it go on with these scans"),
        (FILE | {"modality": "MR"}, "--modality: "),
        (FILE | {"ct_statistics": (1.0, 2.0)}, "--ct-statistics: "),
        (FILE | {"encoder_name": "dlfcn_res18"}, "is a network of toy, not of dlfcn_res18; leave --modelname out"),
        (SNAPSHOT | {"adapt": 1.0}, "--adapt and --method prototypes contradict each other"),
        (SNAPSHOT | {"checkpoint": None}, "--method prototypes needs --checkpoint SNAPSHOT"),
        (SNAPSHOT | {"labels": None}, "--method prototypes needs --label"),
        (SNAPSHOT | {"checkpoint": "absent.pth"}, "absent.pth does not exist; expected a snapshot"),
        (SNAPSHOT | {"modality": None}, "name --modality MR or CT"),
        ({"dataset": "CHAOST2", "modality": "CT"}, "contradict each other"),
    ],
)
def test_contradictions_are_one_line(case, given, sentence):
    with pytest.raises((ValueError, FileNotFoundError)) as error:
        engine(case, **given)
    assert sentence in str(error.value) and "\n" not in str(error.value)


def test_an_adapted_file_tells_its_labels_and_their_names(case):
    found = engine(case, **FILE)
    assert (found.labels, found.axes, found.inputs) == ([2, 3], "LAS", [case / "adapted.safetensors"])
    assert [found.name_of(label) for label in (2, 3)] == ["a", "label 3"]  # of which the file names one alone
    named = engine(case, **FILE, dataset="CHAOST2", labels=[3])
    assert (named.labels, named.name_of(3)) == ([3], "LK")
    assert found.facts()["adapted"] == "3 steps, 0.1 minutes of processor time"
    with pytest.raises(ValueError, match="label 9 was not adapted to"):
        _ = engine(case, **FILE, labels=[9]).predictor


@pytest.mark.parametrize("change", [{"transform": 3}, {"transform": {}}, {"labels": 5}])
def test_a_damaged_description_is_one_line(case, change):
    path = case / "adapted.safetensors"
    save_file(load_file(path), path, metadata={KEY: json.dumps(describe_file(path) | change)})
    with pytest.raises(ValueError, match="has a damaged description; adapt anew"):
        engine(case, **FILE)


def test_adapting_takes_all_labels_unless_some_are_named(case):
    assert engine(case).labels == [2, 3]
    assert engine(case, labels=[3]).labels == [3]


def test_what_decides_the_masks(case):
    def settings(**given):
        found = engine(case, **given)
        return settings_of(found, found.request)

    for given, changes in (
        ({}, [{"adapt": 0.5}, {"labels": [2]}, {"modality": "CT"}, {"checkpoint": "starting.safetensors"}]),
        (FILE, [{"labels": [2]}, {"warn_below": 0.1}, {"report": True}]),
        (SNAPSHOT, [{"labels": [3]}, {"clean_up": True}, {"precision": "bf16"}]),
    ):
        assert settings(**given) == settings(**given)
        for change in changes:
            assert settings(**{**given, **change}) != settings(**given)
        assert settings(**given, force=True, device="cpu") == settings(**given)
