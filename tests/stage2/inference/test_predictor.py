"""`Stage2.predict`: an organ is found, and where it is, whatever way the scan is stored; bad input is a sentence."""

import re
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from stage2.drawn import MR_SPACING, dice, drawn_scan

from Stage2.inference.feature_cache import FeatureCache
from Stage2.inference.network import Network
from Stage2.inference.predictor import as_image, mask_image
from Stage2.inference.transform import scan_transform
from Stage2.predict import Predictor, Segmentation, Support, segment
from Stage2.segmentation.method import Method

SHIFT = 8.0  # mm along the body, of the query's organs


@pytest.fixture(scope="module")
def predictor(network: Network, cache: FeatureCache) -> Predictor:
    return Predictor(network, [Support(*drawn_scan())], [2, 3], scan_transform("MR"), cache=cache)


@pytest.fixture(scope="module")
def base(predictor: Predictor) -> Segmentation:
    return predictor.segment(drawn_scan(shift=SHIFT)[0])


def array(image: sitk.Image) -> np.ndarray:
    return sitk.GetArrayFromImage(image)


def test_both_organs_are_found(base):
    truth = array(drawn_scan(shift=SHIFT)[1])
    assert base.labels.shape == truth.shape
    assert set(np.unique(base.labels)) == {0, 2, 3}
    for label in (2, 3):
        assert dice(base.labels == label, truth == label) > 0.5
        assert 0.1 < base.confidence[label] <= 1
        found = base.labels == label
        assert (base.probabilities[label][found] > 0.5).all()


@pytest.mark.parametrize(("axes", "support_axes"), [("RPI", "LAS"), ("SLA", "ILP")])
def test_a_flipped_or_rotated_scan_has_the_same_mask_in_space(network, predictor, base, axes, support_axes):
    if support_axes != "LAS":
        predictor = Predictor(network, [Support(*drawn_scan(axes=support_axes))], [2, 3], scan_transform("MR"))
    scan, _ = drawn_scan(shift=SHIFT, axes=axes)
    found = predictor.segment(scan)
    assert found.image.GetDirection() == scan.GetDirection()
    assert found.image.GetSize() == scan.GetSize()
    back = sitk.DICOMOrient(found.image, "LAS")
    assert back.GetOrigin() == pytest.approx(base.image.GetOrigin())
    np.testing.assert_array_equal(array(back), base.labels)


def test_an_oblique_scan_has_the_same_mask_in_space(predictor, base):
    """The same patient on a grid turned by 20 degrees; left as it lies, organ 3 overlaps by 0.53 only."""
    scan, _ = drawn_scan(shift=SHIFT)
    turn = sitk.Euler3DTransform((0.0, 0.0, 0.0), 0.0, 0.0, 0.35)
    direction = np.reshape(turn.GetMatrix(), (3, 3)) @ np.reshape(scan.GetDirection(), (3, 3))
    size, spacing = (170, 170, 10), (1.25, 1.25, 5.0)
    middle = scan.TransformContinuousIndexToPhysicalPoint([(side - 1) / 2 for side in scan.GetSize()])
    origin = np.array(middle) - direction @ ((np.array(size) - 1) / 2 * spacing)
    grid = (size, sitk.Transform(), sitk.sitkLinear, origin.tolist(), spacing, direction.flatten().tolist(), 5.0)
    oblique = sitk.Resample(scan, *grid)
    found = predictor.segment(oblique)
    assert found.image.GetDirection() == pytest.approx(oblique.GetDirection())
    back = array(sitk.Resample(found.image, base.image, sitk.Transform(), sitk.sitkNearestNeighbor))
    for label in (2, 3):
        assert dice(back == label, base.labels == label) > 0.7


@pytest.mark.parametrize(
    ("size", "spacing", "least"),
    [((100, 80, 4), (2.0, 2.0, 10.0), 0.45), ((160, 128, 16), (1.25, 1.25, 2.5), 0.5)],
    ids=["10 mm slices", "thin slices"],
)
def test_other_voxels(predictor, size, spacing, least):
    scan, mask = drawn_scan(size, spacing, shift=SHIFT)
    found = predictor.segment(scan)
    assert found.image.GetSpacing() == spacing
    for label in (2, 3):
        assert dice(found.labels == label, array(mask) == label) > least


def test_a_single_slice_as_query_and_as_support(network, predictor):
    scan, mask = drawn_scan()
    one = slice(2, 3)
    of_one = Predictor(network, [Support(scan[:, :, one], mask[:, :, one])], [2, 3], scan_transform("MR"))
    for tried in (predictor, of_one):
        found = tried.segment(scan[:, :, one])
        assert found.labels.shape == (1, 128, 160)
        for label in (2, 3):
            assert dice(found.labels == label, array(mask)[one] == label) > 0.6
    whole = tried.segment(scan)  # a scan from one annotated slice
    assert dice(whole.labels == 2, array(mask) == 2) > 0.3


def test_arrays_with_spacing_are_scans_too(network, cache, base):
    (scan, mask), (query, _) = drawn_scan(), drawn_scan(shift=SHIFT)
    spacing = MR_SPACING[::-1]
    found = segment(
        (array(query), spacing), [((array(scan), spacing), array(mask))], [2, 3], network, cache=cache.folder
    )
    np.testing.assert_array_equal(found.labels, base.labels)
    assert found.confidence == pytest.approx(base.confidence)


def test_several_supports_each_with_what_it_shows(network, cache, base):
    (scan, mask), (other, other_mask) = drawn_scan(), drawn_scan(shift=4.0)
    supports = [Support(scan, only(mask, 2)), Support(other, only(other_mask, 3))]
    found = Predictor(network, supports, [3, 2], scan_transform("MR"), cache=cache).segment(drawn_scan(shift=SHIFT)[0])
    np.testing.assert_array_equal(found.probabilities[2], base.probabilities[2])
    assert not np.array_equal(found.probabilities[3], base.probabilities[3])
    assert list(found.confidence) == [3, 2]


def only(mask: sitk.Image, label: int) -> sitk.Image:
    return masked(mask, lambda values: np.where(values == label, values, 0))


def test_ct_goes_by_the_statistics_of_training_or_of_the_supports(network, caplog):
    (scan, mask), (query, truth) = (
        drawn_scan((128, 100, 5), (1.6, 1.6, 10.0)),
        drawn_scan((128, 100, 5), (1.6, 1.6, 10.0)),
    )
    scan, query = (sitk.ShiftScale(image, -300, 1.0) for image in (scan, query))
    found = segment(query, [(scan, mask)], [2], network, modality="CT")
    assert "are not known; those of the supports are taken" in caplog.text
    assert dice(found.labels == 2, array(truth) == 2) > 0.4


def test_ct_goes_by_each_volume_where_training_did(network, caplog):
    own = Network(network.model, network.identity, {**network.config, "ct_statistics": "volume"})
    scan, mask = drawn_scan((128, 100, 5), (1.6, 1.6, 10.0))
    predictor = Predictor(own, [Support(sitk.ShiftScale(scan, -300, 1.0), mask)], [2], scan_transform("CT"))
    assert predictor.transform.statistics is None  # what the transform takes for a volume's own
    assert "are not known" not in caplog.text


def test_clean_up_leaves_one_piece(predictor, base):
    cleaning = Predictor.__new__(Predictor)
    cleaning.__dict__ = {**predictor.__dict__, "clean_up": True}
    cleaned = cleaning.segment(drawn_scan(shift=SHIFT, axes="SLA")[0])
    counts = [sitk.GetArrayFromImage(sitk.ConnectedComponent(cleaned.image == label, True)).max() for label in (2, 3)]
    assert counts == [1, 1]
    assert not np.array_equal(array(sitk.DICOMOrient(cleaned.image, "LAS")), base.labels)


@pytest.mark.parametrize(("axes", "expected"), [("LAS", 0), ("LSA", 1), ("ASL", 2), ("stored", 0)])
def test_clean_up_fills_holes_in_the_slices_that_the_network_sees(predictor, monkeypatch, axes, expected):
    seen = []
    monkeypatch.setattr("Stage2.inference.predictor.clean_label_map", lambda labels, axis: seen.append(axis) or labels)
    cleaning = Predictor.__new__(Predictor)
    own = replace(predictor.transform, axes=axes, spacing=(5.0, 5.0, 5.0))
    cleaning.__dict__ = {**predictor.__dict__, "clean_up": True, "transform": own}
    cleaning.segment(drawn_scan((40, 32, 3), (5.0, 5.0, 10.0))[0])
    assert seen == [expected]


@pytest.mark.parametrize("kind", ["?", "f2", ">f4", ">i2", "g", "i8"])
def test_arrays_of_every_type_and_order_of_bytes_are_images(kind):
    voxels = (np.arange(24).reshape(2, 3, 4) % 2).astype(kind)
    scan = as_image((voxels, (1, 1, 1)))
    for image in (scan, mask_image(voxels, scan)):
        np.testing.assert_array_equal(array(image), voxels.astype(float))
    for wrong in (voxels.astype(complex), voxels.astype(str), voxels.astype(object)):
        with pytest.raises(ValueError, match="expected real numbers"):
            as_image((wrong, (1, 1, 1)))
        with pytest.raises(ValueError, match="expected real numbers"):
            mask_image(wrong, scan)


def masked(mask: sitk.Image, change) -> sitk.Image:
    image = sitk.GetImageFromArray(change(array(mask)))
    image.CopyInformation(mask)
    return image


@pytest.fixture(scope="module")
def uniform(network: Network) -> Network:
    """A network to which everything looks the same: what is refused does not depend on what it sees."""

    class Uniform(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.ones(len(images), 4, 32, 32)

    model = type(network.model)("dlfcn_res18")
    model.encoder = Uniform()
    model.register_parameter("place", torch.nn.Parameter(torch.zeros(1)))
    return replace(network, model=model)


def moved(mask: sitk.Image) -> sitk.Image:
    """The mask a pixel further to the left."""
    moved = sitk.Image(mask)
    moved.SetOrigin(mask.TransformIndexToPhysicalPoint((1, 0, 0)))
    return moved


def speck() -> dict:
    """A scan of small voxels, of which one is marked: it falls between those of the network."""
    scan, mask = drawn_scan((60, 60, 2), (0.5, 0.5, 7.7))
    one = np.zeros((2, 60, 60), dtype=np.uint8)
    one[0, 1, 1] = 2
    return {"scan": masked(scan, lambda v: v + np.arange(60, dtype=v.dtype)), "mask": masked(mask, lambda _: one)}


def nothing_but_organ() -> dict:
    """A scan of as many pixels as the network sees, all of which are marked."""
    scan, mask = drawn_scan((256, 256, 1), (1.25, 1.25, 7.7))
    return {"scan": scan, "mask": masked(mask, lambda v: v * 0 + 2)}


def test_a_support_mask_in_another_direction_of_axes_is_turned(network, base):
    scan, mask = drawn_scan()
    turned = Predictor(network, [Support(scan, sitk.DICOMOrient(mask, "SPR"))], [2, 3], scan_transform("MR"))
    np.testing.assert_array_equal(turned.segment(drawn_scan(shift=SHIFT)[0]).labels, base.labels)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            lambda scan, mask: {"mask": mask[:, :, 1:]},
            "has 160 x 128 x 4 voxels (columns, rows, slices) but the support scan has 160 x 128 x 5",
        ),
        (lambda scan, mask: {"mask": moved(mask)}, "lies elsewhere than the support scan"),
        (lambda scan, mask: {"mask": mask * 0}, "its mask is empty: it marks no voxel"),
        (lambda scan, mask: {"labels": [2, 9]}, "label 9 is not in its mask; it holds [2, 3]"),
        (lambda scan, mask: {"labels": [0]}, "expected whole numbers from 1 to 65535"),
        (lambda scan, mask: {"labels": []}, "expected whole numbers from 1 to 65535"),
        (lambda scan, mask: {"mask": masked(mask, lambda v: v * 0.3)}, "expected whole numbers: 0 for background"),
        (lambda scan, mask: nothing_but_organ(), "shows nothing but organ"),
        (lambda scan, mask: speck(), "label 2 is gone after preparation of its mask"),
        (lambda scan, mask: {"scan": masked(mask, lambda v: v * 0.0)}, "all voxels have the same value"),
        (lambda scan, mask: {"query": masked(mask, lambda v: v * 0.0)}, "all voxels have the same value"),
        (lambda scan, mask: {"query": masked(mask, lambda v: v * np.nan)}, "has 102400 voxel(s) that are not finite"),
        (lambda scan, mask: {"query": sitk.JoinSeries([scan, scan])}, "4 dimensions with 1 value(s)"),
        (lambda scan, mask: {"query": sitk.Compose(scan, scan, scan)}, "3 dimensions with 3 value(s)"),
        (lambda scan, mask: {"query": (np.zeros((3, 4)), (1, 1, 1))}, "an array of shape (3, 4) with spacing"),
        (lambda scan, mask: {"query": (np.zeros((3, 4, 5)), (1, 0, 1))}, "expected (Z, H, W) and three positive"),
        (lambda scan, mask: {"matching": "beauty"}, "matching 'beauty' is unknown; choose one of similarity, position"),
        (lambda scan, mask: {"supports": []}, "no support was given"),
    ],
)
def test_bad_input_is_one_sentence(uniform, change, sentence):
    scan, mask = drawn_scan()
    given = {"scan": scan, "mask": mask, "query": scan, "labels": [2], "matching": "similarity"}
    given |= change(scan, mask)
    supports = given.get("supports", [(given["scan"], given["mask"])])
    with pytest.raises(ValueError, match=re.escape(sentence)) as error:
        segment(given["query"], supports, given["labels"], uniform, method=Method(given["matching"]))
    assert "\n" not in str(error.value)
