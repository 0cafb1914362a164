"""An adapted network finds organs on each query's own grid; adapted files are described, and refused when damaged."""

import json
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from safetensors.torch import load_file, save_file
from stage2.drawn import MR_SPACING, dice, drawn_scan

import Stage2
from Stage2.adaptation.network import AdaptedNetwork
from Stage2.adaptation.network_file import ADAPTED, KEY, STARTING, describe_file, names_adapted, write_network
from Stage2.adaptation.settings import AdaptationSettings
from Stage2.inference.adapted_predictor import Adapted, AdaptedPredictor, load_adapted
from Stage2.inference.adapting import adapt_network
from Stage2.inference.examples import Example
from Stage2.inference.predictor import Support
from Stage2.inference.transform import scan_transform
from Stage2.predict import segment

SHIFT = 8.0
SETTINGS = AdaptationSettings(minutes=None, steps=25, batch=4, side=64)


def array(image: sitk.Image) -> np.ndarray:
    return sitk.GetArrayFromImage(image)


@pytest.fixture(scope="module")
def adapted() -> Adapted:
    """Adapted to one drawn scan, from random weights, within a little budget."""
    return adapt_network([Example(Support(*drawn_scan()))], [2, 3], scan_transform("MR"), "random", SETTINGS)


@pytest.fixture(scope="module")
def path(adapted, tmp_path_factory):
    path = tmp_path_factory.mktemp("adapted") / "a.safetensors"
    write_network(path, ADAPTED, adapted.network, adapted.description())
    return path


@pytest.fixture(scope="module")
def found(adapted):
    return AdaptedPredictor(adapted).segment(drawn_scan(shift=SHIFT)[0])


def test_organs_are_found_within_a_little_budget(found):
    truth = array(drawn_scan(shift=SHIFT)[1])
    assert found.labels.shape == truth.shape
    for label in (2, 3):
        assert dice(found.labels == label, truth == label) > 0.6
        assert 0 < found.confidence[label] <= 1
    assert found.lower_bounds == {}
    for label in (2, 3):
        pieces = sitk.ConnectedComponent(found.image == label, True)
        assert array(pieces).max() == 1


@pytest.mark.parametrize("axes", ["RPI", "SLA"])
def test_a_query_keeps_its_own_grid(adapted, found, axes):
    scan, _ = drawn_scan(shift=SHIFT, axes=axes)
    turned = AdaptedPredictor(adapted).segment(scan)
    assert turned.image.GetSize() == scan.GetSize()
    for fact in ("GetDirection", "GetSpacing", "GetOrigin"):
        assert getattr(turned.image, fact)() == getattr(scan, fact)()
    np.testing.assert_array_equal(array(sitk.DICOMOrient(turned.image, "LAS")), found.labels)


@pytest.mark.parametrize(
    ("size", "spacing"), [((100, 80, 4), (2.0, 2.0, 10.0)), ((160, 128, 1), MR_SPACING), ((77, 61, 9), (2.6, 2.6, 4.3))]
)
def test_other_voxels(adapted, size, spacing):
    scan, mask = drawn_scan(size, spacing, shift=SHIFT)
    if size[2] == 1:
        scan, mask = (image[:, :, 2:3] for image in drawn_scan())
    found = AdaptedPredictor(adapted).segment(scan)
    assert found.labels.shape == size[::-1]
    assert dice(found.labels == 2, array(mask) == 2) > 0.4


def test_probabilities_are_made_when_they_are_asked_for(adapted, found, monkeypatch):
    made = []
    import Stage2.inference.adapted_predictor as module

    back = module.back_to_scan
    monkeypatch.setattr(module, "back_to_scan", lambda *given: made.append(1) or back(*given))
    other = AdaptedPredictor(adapted).segment(drawn_scan(shift=SHIFT)[0])
    count = len(made)
    assert list(other.probabilities) == [2, 3] and len(other.probabilities) == 2
    assert len(made) == count
    own = other.probabilities[3]
    assert len(made) == count + 1
    assert (own.dtype, own.shape) == (np.float32, found.labels.shape)
    assert (own[found.labels == 3] > 0.5).all()
    with pytest.raises(KeyError):
        other.probabilities[9]


def test_some_labels_and_unknown_ones(adapted, found):
    predictor = AdaptedPredictor(adapted, [3])
    only = predictor.segment(drawn_scan(shift=SHIFT)[0])
    assert (predictor.labels, list(only.confidence)) == ((3,), [3])
    np.testing.assert_array_equal(only.labels == 3, found.labels == 3)
    assert not (only.labels == 2).any()
    with pytest.raises(ValueError, match=r"label 9 was not adapted to; the network knows \[2, 3\]"):
        AdaptedPredictor(adapted, [3, 9])
    with pytest.raises(ValueError, match=r"no label was given; the network knows \[2, 3\]"):
        segment(drawn_scan()[0], [], [], adapted)


def test_a_query_without_contrast_is_refused(adapted):
    with pytest.raises(ValueError, match="brain: all voxels have the same value"):
        AdaptedPredictor(adapted).segment(drawn_scan()[0] * 0, "brain")


def test_lower_bounds_follow_the_errors_of_each_label(adapted, found):
    reference = replace(adapted.reference, errors=((-0.1, 0.0, 0.1, 0.2), (0.1,)))
    bounded = AdaptedPredictor(replace(adapted, reference=reference)).segment(drawn_scan(shift=SHIFT)[0])
    assert bounded.lower_bounds == {2: pytest.approx(max(0.0, found.confidence[2] - 0.2))}


def test_a_file_gives_the_same_masks_and_needs_no_support(path, found, adapted):
    loaded = load_adapted(path)
    assert (loaded.labels, loaded.transform, loaded.side) == (adapted.labels, adapted.transform, adapted.side)
    assert loaded.reference == adapted.reference and len(loaded.identity) == 64
    query = drawn_scan(shift=SHIFT)[0]
    for checkpoint in (path, str(path), loaded):
        again = segment(query, [], [2, 3], checkpoint)
        np.testing.assert_array_equal(again.labels, found.labels)
        assert again.confidence == pytest.approx(found.confidence)
    with pytest.raises(ValueError, match="an adapted network needs no supports"):
        segment(query, [drawn_scan()], [2, 3], path)


@pytest.mark.parametrize(
    "change",
    [
        {"labels": [2]}, {"labels": ["a", "b"]}, {"labels": None}, {"side": 0}, {"side": "wide"}, {"transform": {}},
        {"transform": 3}, {"reference": {}}, {"reference": {"volumes": [[1, 2]], "errors": []}},
    ],
)  # fmt: skip
def test_a_damaged_description_is_refused(path, tmp_path, change):
    damaged = tmp_path / "damaged.safetensors"
    save_file(load_file(path), damaged, metadata={KEY: json.dumps(describe_file(path) | change)})
    with pytest.raises(ValueError, match="has a damaged description") as error:
        load_adapted(damaged)
    assert "\n" not in str(error.value)


def test_a_starting_network_is_no_adapted_one(toy, tmp_path):
    write_network(tmp_path / "s.safetensors", STARTING, AdaptedNetwork(toy, 2), {})
    assert not names_adapted(tmp_path / "s.safetensors")
    with pytest.raises(ValueError, match=r"is a starting network, which knows no organ of yours yet; run tools/adapt"):
        load_adapted(tmp_path / "s.safetensors")


def test_the_function_takes_arrays_and_writes_a_file(tmp_path, monkeypatch):
    monkeypatch.setattr("Stage2.adaptation.settings.STARTING_NETWORK", tmp_path / "absent")
    scan, mask = drawn_scan((80, 64, 4), (2.5, 2.5, 9.0))
    reports = []
    given = [((array(scan), (9.0, 2.5, 2.5)), array(mask))]
    out = tmp_path / "a.safetensors"
    adapted = Stage2.adapt(given, steps=1, out=out, annotated=["drawn"], report=reports.append)
    assert (adapted.labels, adapted.described["finished"], len(reports)) == ((2, 3), True, 1)
    assert adapted.described["start"] == "random"
    query = (array(scan), (9.0, 2.5, 2.5))
    found, again = segment(query, [], [2], adapted), segment(query, [], [2], out)
    np.testing.assert_array_equal(found.labels, again.labels)
    with pytest.raises(ValueError, match="2 entries of annotated for 1 supports"):
        Stage2.adapt(given, steps=1, annotated=[None, None])
    for name in ("a.pth", "scan.nii.gz"):
        with pytest.raises(ValueError, match=r"must be the name of a \.safetensors file"):
            Stage2.adapt(given, steps=1, out=tmp_path / name, report=pytest.fail)
    (tmp_path / "scan.safetensors").touch()
    with pytest.raises(FileExistsError, match="was not written by this program and is not written over"):
        Stage2.adapt(given, steps=1, out=tmp_path / "scan.safetensors", report=pytest.fail)
    with pytest.raises(OSError, match="could not be written"):
        Stage2.adapt(given, steps=1, out=out / "b.safetensors", report=pytest.fail)
    with pytest.raises(AttributeError, match="no attribute 'adopt'"):
        _ = Stage2.adopt


def test_it_starts_from_the_starting_network_where_that_is(toy, tmp_path, monkeypatch):
    start = tmp_path / "starting.safetensors"
    torch.manual_seed(4)
    write_network(start, STARTING, AdaptedNetwork(toy, 3), {})
    monkeypatch.setattr("Stage2.adaptation.settings.STARTING_NETWORK", start)
    scan, mask = drawn_scan((80, 64, 4), (2.5, 2.5, 9.0))
    adapted = Stage2.adapt([(scan, mask)], [2], steps=1, unlabelled=[drawn_scan(shift=4)[0]])
    assert adapted.described["start"] == str(start)
    assert adapted.described["unlabelled_scans"] == 1
    assert adapted.network.encoder_name == "toy"
