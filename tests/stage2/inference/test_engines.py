"""Which engine a request means; a request that contradicts itself is refused in one line."""

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from Stage2.adaptation.network_file import KEY, describe_file
from Stage2.inference.adapted_engines import AdaptedFileEngine, AdaptingEngine
from Stage2.inference.engines import Engine, PrototypeEngine, engine_for
from Stage2.inference.query import settings_of
from Stage2.inference.request import Request
from Stage2.io.scans import ScanFile


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
        engine(case, **FILE, labels=[9])


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
        (
            {"modality": "MR"},
            [
                {"adapt": 0.5}, {"labels": [2]}, {"modality": "CT"}, {"checkpoint": "starting.safetensors"},
                {"dataset": "CHAOST2"},
            ],
        ),
        (FILE, [{"labels": [2]}, {"warn_below": 0.1}, {"report": True}, {"dataset": "CHAOST2"}]),
        (SNAPSHOT, [{"labels": [3]}, {"clean_up": True}, {"precision": "bf16"}, {"dataset": "CHAOST2"}]),
    ):  # fmt: skip
        assert settings(**given) == settings(**given)
        for change in changes:
            assert settings(**{**given, **change}) != settings(**given)
        assert settings(**given, force=True, device="cpu") == settings(**given)
