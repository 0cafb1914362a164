"""What a network is adapted to: every kind of mask and scan as people have them, on the working grid."""

from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
from stage2.drawn import drawn_scan

from Stage2.adaptation.adapt import AdaptedWeights, side_for
from Stage2.adaptation.learner import IGNORED
from Stage2.adaptation.network import AdaptedNetwork
from Stage2.adaptation.network_file import ADAPTED, write_network
from Stage2.adaptation.settings import AdaptationSettings
from Stage2.adaptation.working_grid import AnnotatedSlices
from Stage2.inference.adapted_predictor import Adapted
from Stage2.inference.adapting import adapt_network
from Stage2.inference.examples import ANY_SIZE, Example, labels_of
from Stage2.inference.predictor import Support
from Stage2.inference.transform import scan_transform

SETTINGS = AdaptationSettings(minutes=None, steps=1, batch=2, encoder="toy", side=64)


def array(image: sitk.Image) -> np.ndarray:
    return sitk.GetArrayFromImage(image)


def masked(mask: sitk.Image, change) -> sitk.Image:
    image = sitk.GetImageFromArray(change(array(mask)).astype(np.uint8))
    image.CopyInformation(mask)
    return image


@pytest.fixture
def prepared(toy, monkeypatch):
    """Adapt, and give what the network would have learned from, with what came out."""
    seen = []

    def learn(scans, organs, start, settings, **_):
        seen.append(scans)
        return AdaptedWeights(AdaptedNetwork(toy, organs).eval(), 1, 0.0, True)

    monkeypatch.setattr("Stage2.inference.adapting.adapt_slices", learn)

    def run(*examples: Example, labels=(2, 3), modality="MR", settings=SETTINGS, **changes):
        transform = scan_transform(modality, **changes)
        adapted = adapt_network(examples, list(labels), transform, "random", settings)
        return seen[-1], adapted

    return run


def one(prepared, mask=None, annotated=None, **changes) -> tuple[AnnotatedSlices, Adapted]:
    """Of one drawn scan, with its mask or another one."""
    scan, own = drawn_scan()
    (found,), adapted = prepared(Example(Support(scan, own if mask is None else mask), annotated), **changes)
    return found, adapted


def test_organs_lie_on_the_working_grid_where_the_scan_has_them(prepared):
    found, adapted = one(prepared)
    assert found.images.shape == found.labels.shape == (5, 64, 64)
    assert found.known.shape == (5, 2) and found.known.all()
    bright = [float(found.images[found.labels == label].mean()) for label in (1, 2)]
    assert bright[0] > bright[1] > float(found.images[found.labels == 0].mean())
    voxels = array(drawn_scan()[1])
    for place, label in ((1, 2), (2, 3)):
        in_mm3 = (voxels == label).sum() * 1.25**2
        assert int((found.labels == place).sum()) * 5.0**2 == pytest.approx(in_mm3, rel=0.15)
    volume = (voxels == 3).sum() * 1.25**2 * 7.7 / 1000
    assert adapted.reference.volumes[1] == pytest.approx((volume, volume))
    assert adapted.transform.spacing == pytest.approx((1.25, 1.25, 7.7))
    assert (adapted.labels, adapted.side) == ((2, 3), 64)


@pytest.mark.parametrize("axes", ["RPI", "SLA", "ILP"])
def test_a_scan_in_other_axes_gives_the_same(prepared, axes):
    straight, _ = one(prepared, annotated=[1, 2])
    scan, mask = drawn_scan(axes=axes)
    numbers = [1, 2] if "S" in axes else [3, 2]  # counted in the file's order
    (found,), _ = prepared(Example(Support(scan, mask), numbers))
    np.testing.assert_allclose(found.images, straight.images, atol=1e-4)
    np.testing.assert_array_equal(found.labels, straight.labels)
    np.testing.assert_array_equal(found.known, straight.known)


def test_slices_are_counted_along_the_axes_that_the_network_sees(prepared):
    scan, mask = drawn_scan((40, 32, 20), (5.0, 5.0, 2.0))
    (found,), _ = prepared(Example(Support(scan, mask), [13, 14]), axes="LSA", spacing=(5.0, 2.0, 5.0))
    assert found.known.all(dim=1).nonzero()[:, 0].tolist() == [13, 14]
    (found,), _ = prepared(Example(Support(scan, mask), [13, 14]), axes="stored", spacing=(5.0, 5.0, 2.0))
    assert found.known.all(dim=1).nonzero()[:, 0].tolist() == [13, 14]


def test_only_the_slices_that_are_listed_are_known(prepared):
    found, adapted = one(prepared, annotated=[1, 3])
    assert found.known[:, 0].tolist() == found.known[:, 1].tolist() == [False, True, False, True, False]
    assert (found.labels[[0, 2, 4]] == IGNORED).all()
    assert found.annotated.tolist() == [1, 3]
    assert adapted.reference.volumes == (ANY_SIZE, ANY_SIZE)  # a part of an organ tells no volume


def test_an_organ_that_no_annotated_slice_shows_is_not_learned_as_absent(prepared):
    """Unless another example shows it."""
    scan, mask = drawn_scan()
    lower = masked(mask, lambda voxels: np.where(np.arange(5)[:, None, None] < 3, voxels, 2 * (voxels == 2)))
    some = Example(Support(scan, lower, "first"), [3, 4])
    with pytest.raises(ValueError, match="label 3 is in no annotated slice of first; annotate one that shows it"):
        prepared(some)
    with pytest.raises(ValueError, match="label 2 is in no annotated slice of the support scan"):
        one(prepared, annotated=[])
    assert one(prepared, lower, [3, 4], labels=(2,))[1].labels == (2,)
    assert prepared(some, Example(Support(scan, mask), "drawn"))[1].labels == (2, 3)


def test_all_slices_may_be_named_by_a_word(prepared):
    found, adapted = one(prepared, annotated="all")
    assert found.known.all() and adapted.reference == one(prepared)[1].reference
    with pytest.raises(ValueError, match="annotated 'some': expected 'all', 'drawn', or numbers of slices"):
        one(prepared, annotated="some")


def test_a_mask_of_unknown_voxels_alone_shows_no_label():
    scan, mask = drawn_scan()
    unknown = masked(mask, lambda voxels: 255 * (voxels > 0))
    with pytest.raises(ValueError, match="its mask marks voxels as 255 alone, which means unknown"):
        labels_of([Example(Support(scan, unknown))])


def test_three_slices_of_every_organ(prepared):
    """As when each organ is drawn in slices of its own."""

    def some(voxels):
        kept = np.zeros_like(voxels)
        kept[1:4][voxels[1:4] == 2], kept[2:3][voxels[2:3] == 3] = 2, 3
        return kept

    found, _ = one(prepared, masked(drawn_scan()[1], some), "drawn")
    assert found.known[:, 0].tolist() == [False, True, True, True, False]
    assert found.known[:, 1].tolist() == [False, False, True, False, False]
    assert [(found.labels[z] == 1).any().item() for z in range(5)] == [False, True, True, True, False]
    assert (found.labels[[0, 4]] == IGNORED).all()
    assert not (found.labels[1] == 2).any()


def test_voxels_of_value_255_are_unknown_unless_that_is_a_label(prepared):
    def unsure(voxels):
        voxels[2, 40:80, 40:80] = 255
        return voxels

    mask = masked(drawn_scan()[1], unsure)
    found, adapted = one(prepared, mask)
    assert [(found.labels[z] == IGNORED).any().item() for z in range(5)] == [False, False, True, False, False]
    assert adapted.reference.volumes == (ANY_SIZE, ANY_SIZE)
    assert labels_of([Example(Support(drawn_scan()[0], mask))]) == [2, 3]
    found, adapted = one(prepared, mask, labels=(2, 255))
    assert set(found.labels.unique().tolist()) == {0, 1, 2}
    assert adapted.reference.volumes[1][0] == pytest.approx(1600 * 1.25**2 * 7.7 / 1000)


@pytest.mark.parametrize("place", [8, 9, 10])
@pytest.mark.parametrize("annotated", ["drawn", "listed"])
def test_an_annotated_slice_between_those_that_the_network_sees_is_not_lost(prepared, place, annotated):
    """Of 1 mm, where the network sees one slice in 3 mm."""
    scan, mask = drawn_scan((40, 32, 30), (5.0, 5.0, 1.0))
    scan = sitk.ShiftScale(scan, -300, 1.0)
    mask = masked(mask, lambda voxels: voxels * (np.arange(30) == place)[:, None, None])
    slices = "drawn" if annotated == "drawn" else [place]
    (found,), adapted = prepared(Example(Support(scan, mask), slices), modality="CT")
    assert (found.annotated.tolist(), found.showing.tolist()) == ([3], [3])
    assert (found.labels[3] == 1).any() and (found.labels[3] == 2).any()
    assert adapted.reference.volumes == (ANY_SIZE, ANY_SIZE)


@pytest.mark.parametrize("axes", ["LAS", "stored"])
@pytest.mark.parametrize("slices", [[5], [-1], [0, 9]])
def test_slices_that_the_scan_has_not_are_refused(prepared, slices, axes):
    with pytest.raises(ValueError, match="is named as annotated; it has slices 1 to 5"):
        one(prepared, annotated=slices, axes=axes)


def test_ct_takes_its_statistics_from_the_examples(prepared):
    scan, mask = drawn_scan()
    scan = sitk.ShiftScale(scan, -300, 1.0)
    (found,), adapted = prepared(Example(Support(scan, mask)), modality="CT")
    assert adapted.transform.statistics.std > 0
    assert float(found.images.mean()) == pytest.approx(0, abs=0.05)
    assert {1, 2} <= set(found.labels.unique().tolist())


def test_one_label_and_labels_in_their_order(prepared):
    found, _ = one(prepared, labels=(3,))
    assert (found.known.shape[1], found.labels.max()) == (1, 1)
    both, _ = one(prepared, labels=(3, 2, 3))
    assert both.known.shape[1] == 2
    np.testing.assert_array_equal(both.labels == 1, found.labels == 1)


def test_thirteen_labels(prepared):
    def boxes(voxels):
        voxels[:] = 0
        for label in range(1, 14):
            row, column = 20 + 30 * ((label - 1) // 5), 20 + 25 * ((label - 1) % 5)
            voxels[1:4, row : row + 14, column : column + 14] = label
        return voxels

    found, adapted = one(prepared, masked(drawn_scan()[1], boxes), labels=range(1, 14))
    assert found.labels.unique().tolist() == list(range(14))
    assert len(adapted.reference.volumes) == len(adapted.labels) == 13


@pytest.mark.parametrize("side", [64, None])
def test_an_organ_of_50_voxels_stays(prepared, side):
    def small(voxels):
        voxels[2, 60:65, 60:70] = 7
        return voxels

    settings = replace(SETTINGS, side=side)
    found, adapted = one(prepared, masked(drawn_scan()[1], small), labels=(2, 7), settings=settings)
    assert adapted.side == (side or 256)
    assert (found.labels == 2).sum() == (50 if side is None else pytest.approx(50 / 16, abs=2))


def test_mr_slices_stay_as_thick_as_the_examples(prepared):
    for thickness, expected in ((5.0, 5.0), (1.0, 2.5), (15.0, 10.0)):
        scan, mask = drawn_scan((40, 32, 8), (5.0, 5.0, thickness), shift=0.0)
        mask = masked(mask, lambda voxels: np.pad(np.full((8, 10, 10), 2), ((0, 0), (10, 12), (10, 20))))
        _, adapted = prepared(Example(Support(scan, mask)), labels=(2,))
        assert adapted.transform.spacing == pytest.approx((1.25, 1.25, expected))
    scan, mask = drawn_scan((160, 128, 5), (2.5, 2.5, 7.7))  # 400 mm
    _, adapted = prepared(Example(Support(scan, mask)))
    assert adapted.transform.spacing == pytest.approx((400 / 256, 400 / 256, 7.7))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda scan, mask: (scan, masked(mask, lambda v: v * 0)), "is empty: it marks no voxel"),
        (lambda scan, mask: (scan, mask[:, :, 1:]), "has 160 x 128 x 4 voxels"),
        (lambda scan, mask: (sitk.Cast(mask * 0, sitk.sitkFloat32), mask), "all voxels have the same value"),
        (lambda scan, mask: (scan, masked(mask, lambda v: v // 3 * 3)), "label 2 is not in its mask; it holds [3]"),
    ],
)
def test_bad_examples_are_one_sentence(prepared, change, sentence):
    with pytest.raises(ValueError) as error:
        prepared(Example(Support(*change(*drawn_scan()))))
    assert sentence in str(error.value) and "\n" not in str(error.value)


def test_a_vit_asks_for_its_own_side(toy, tmp_path):
    assert side_for("random", "dlfcn_vit_mmcv") == 256
    assert side_for("random", None) is side_for("random", "toy") is None
    path = tmp_path / "a.safetensors"
    network = AdaptedNetwork(toy, 1)
    network.encoder_name = "dlfcn_vit_mmcv"
    write_network(path, ADAPTED, network, {})
    assert side_for(path, None) == 256
    settings = AdaptationSettings(minutes=None, steps=1, side=128)
    with pytest.raises(ValueError, match="side 128: the encoder sees 256 x 256 pixels and no others; leave the side"):
        adapt_network([Example(Support(*drawn_scan()))], [2], scan_transform("MR"), path, settings)
