"""Drawn slices come from the seed, show what their classes say, and stand between their neighbours."""

import numpy as np
import pytest
import torch

from Stage2.phantom.anatomy import TISSUES, Tissue
from Stage2.starting.drawn_slices import (
    CLASSES,
    MOST,
    SIDE,
    class_of_tissue,
    draw_anatomy,
    draw_batch,
)


@pytest.fixture(scope="module")
def anatomy() -> np.ndarray:
    return draw_anatomy(1, 0)


def seeded(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_an_anatomy_comes_from_seed_and_number(anatomy):
    assert anatomy.dtype == np.uint8
    assert anatomy.shape[1:] == (SIDE, SIDE) and 3 <= len(anatomy) <= MOST
    np.testing.assert_array_equal(anatomy, draw_anatomy(1, 0))
    other = draw_anatomy(1, 1)
    assert other.shape != anatomy.shape or not np.array_equal(other, anatomy)
    shown = set(np.unique(anatomy).tolist())
    assert {Tissue.LIVER, Tissue.SPLEEN, Tissue.KIDNEY_LEFT, Tissue.KIDNEY_RIGHT, Tissue.AORTA} <= shown


def test_every_tissue_but_air_has_one_class():
    named = [int(tissue) for tissues in CLASSES.values() for tissue in tissues]
    assert sorted(named) == list(range(1, TISSUES))
    classes = class_of_tissue()
    for place, tissues in enumerate(CLASSES.values(), start=1):
        assert all(classes[int(tissue)] == place for tissue in tissues)
    assert classes[Tissue.AIR] == 0


@pytest.mark.parametrize("size", [32, 64])
def test_a_seed_gives_the_same_batch(anatomy, size):
    first, again, other = (draw_batch([anatomy], 3, size, seeded(seed)) for seed in (1, 1, 2))
    assert first[0].shape == (3, 3, size, size) and first[0].dtype == torch.float32
    assert first[1].shape == (3, size, size) and first[1].dtype == torch.int64
    assert all(torch.equal(one, two) for one, two in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])
    assert torch.isfinite(first[0]).all()


def test_classes_match_the_tissues_that_are_seen(monkeypatch):
    """Of an anatomy that is liver on one side and spleen on the other, each at its brightness in every contrast."""
    volume = np.full((5, SIDE, SIDE), Tissue.LIVER, dtype=np.uint8)
    volume[:, :, SIDE // 2 :] = Tissue.SPLEEN
    means = torch.zeros(TISSUES)
    means[Tissue.LIVER], means[Tissue.SPLEEN] = 0.4, 0.9
    monkeypatch.setattr("Stage2.starting.drawn_slices._draw_contrast", lambda _: (means, torch.zeros(TISSUES)))
    monkeypatch.setattr("Stage2.starting.drawn_slices.STRANGE", 1e9)
    monkeypatch.setattr("Stage2.starting.drawn_slices.change_intensities", lambda images, *_: images)
    images, classes = draw_batch([volume], 4, 64, seeded())
    names = list(CLASSES)
    liver, spleen = (classes == names.index(name) + 1 for name in ("liver", "spleen"))
    assert liver.any() and spleen.any() and (liver | spleen | (classes == 0)).all()
    middle = images[:, 1]
    for image, one, other in zip(middle, liver, spleen, strict=True):
        assert image[other].median() > image[one].median()
        assert (image[other] > image[one].median()).float().mean() > 0.95


def test_one_slice_may_stand_for_its_neighbours(anatomy, monkeypatch):
    monkeypatch.setattr("Stage2.starting.drawn_slices.ONE_SLICE", 1.0)
    monkeypatch.setattr("Stage2.starting.drawn_slices.change_intensities", lambda images, *_: images)
    flat = draw_batch([np.repeat(anatomy[:1], 3, axis=0)], 2, 32, seeded())[1]
    monkeypatch.setattr("Stage2.starting.drawn_slices.ONE_SLICE", 0.0)
    assert torch.equal(flat, draw_batch([np.repeat(anatomy[:1], 3, axis=0)], 2, 32, seeded())[1])
