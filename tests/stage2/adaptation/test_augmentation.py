"""Changes come from the seed alone, labels move with their images, and intensities keep what they should."""

import pytest
import torch

from Stage2.adaptation.augmentation import Strength, change_geometry, change_intensities, smooth, smooth_noise

STILL = Strength(rotation=0, zoom=1, stretch=0, shift=0, elastic=0)
PLAIN = Strength(contrast=0, blur=0, noise=0)


def seeded(seed: int = 3) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def disc() -> torch.Tensor:
    """(4, 48, 48) bool."""
    row, column = torch.meshgrid(torch.arange(48), torch.arange(48), indexing="ij")
    return ((row - 20) ** 2 + (column - 28) ** 2 < 81).expand(4, 48, 48)


def test_a_seed_gives_the_same_changes(disc):
    images, labels = disc[:, None].float() + smooth_noise((4, 3), 9, (48, 48), seeded()), disc.long()
    first, again, other = (
        [*change_geometry(images, labels, seeded(s)), change_intensities(images, seeded(s))] for s in (1, 1, 2)
    )
    assert all(torch.equal(one, two) for one, two in zip(first, again, strict=True))
    assert not any(torch.equal(one, two) for one, two in zip(first, other, strict=True))


def test_labels_stay_where_the_image_shows_them(disc):
    moved, labels = change_geometry(disc[:, None].float().expand(4, 3, 48, 48), 2 * disc.long(), seeded())
    assert (moved.shape, labels.shape, labels.dtype) == ((4, 3, 48, 48), (4, 48, 48), torch.int64)
    assert set(labels.unique().tolist()) == {0, 2}
    assert not torch.equal(labels, 2 * disc.long())
    for image, label in zip(moved[:, 1], labels == 2, strict=True):
        shown = image > 0.5
        assert 2 * (shown & label).sum() / (shown.sum() + label.sum()) > 0.95


def test_no_strength_is_no_change(disc):
    images = torch.randn(4, 1, 48, 48, generator=seeded())
    moved, labels = change_geometry(images, disc.long(), seeded(), STILL)
    assert torch.allclose(moved, images, atol=1e-4)
    assert torch.equal(labels, disc.long())


def test_what_comes_from_outside_repeats_the_border_and_is_background():
    moved, labels = change_geometry(torch.ones(8, 1, 32, 32), torch.ones(8, 32, 32).long(), seeded(), Strength(zoom=2))
    assert torch.allclose(moved, torch.ones_like(moved), atol=1e-5)
    assert (labels == 0).any()


@pytest.mark.parametrize("shape", [(2, 1, 16, 24), (1, 3, 32, 32)])
def test_gamma_and_bias_field_keep_mean_and_deviation(shape):
    images = 3 + 2 * torch.randn(shape, generator=seeded())
    changed = change_intensities(images, seeded(), PLAIN)
    assert not torch.allclose(changed, images, atol=0.1)
    for measure in (torch.mean, torch.std):
        assert torch.allclose(measure(changed, (1, 2, 3)), measure(images, (1, 2, 3)), atol=1e-3)


def test_a_blank_slice_stays_finite():
    assert torch.isfinite(change_intensities(torch.zeros(2, 3, 16, 16), seeded())).all()


def test_smooth_is_the_mean_of_neighbours():
    image = torch.arange(12.0).reshape(1, 1, 3, 4)
    assert smooth(image)[0, 0, 1, 1] == pytest.approx(image[0, 0, :3, :3].mean().item())
    assert smooth(image)[0, 0, 0, 0] == pytest.approx((4 * 0 + 2 * 1 + 2 * 4 + 5) / 9)
