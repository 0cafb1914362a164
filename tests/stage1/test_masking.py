"""Masks and the losses of what is rebuilt, against plain loops, and what must hold for any of them."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from Stage1.models.masking import grid_masks, hidden_patch_loss, hidden_pixel_loss, random_masks, visible_patches

SEEDS = st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=4)


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@given(SEEDS, st.integers(2, 30), st.floats(0, 1))
@settings(max_examples=40)
def test_as_many_patches_are_hidden_in_every_image(seeds, patches, share):
    masks = random_masks(torch.tensor(seeds), patches, share)
    assert masks.shape == (len(seeds), patches)
    counts = set(masks.sum(dim=1).tolist())
    assert len(counts) == 1
    (count,) = counts
    assert 1 <= count <= patches - 1
    assert count >= min(share * patches, patches - 1) - 1e-6
    assert count <= max(share * patches + 1, 1)


@pytest.mark.parametrize(("patches", "hidden"), [(256, 192), (64, 48), (9, 7), (4, 3), (2, 1)])
def test_three_quarters(patches, hidden):
    assert random_masks(torch.tensor([1]), patches, 0.75).sum() == hidden


@given(SEEDS, st.integers(0, 2**63 - 1))
@settings(max_examples=20)
def test_a_mask_follows_from_its_seed_alone(seeds, before):
    torch.manual_seed(before % 2**32)
    state = torch.get_rng_state()
    together = random_masks(torch.tensor(seeds), 16, 0.75)
    assert torch.equal(torch.get_rng_state(), state)  # no draw from the global generator
    alone = torch.cat([random_masks(torch.tensor([seed]), 16, 0.75) for seed in reversed(seeds)])
    assert torch.equal(together, alone.flip(0))


def test_all_patches_are_equally_likely():
    """4,000 images: a share of 0.75 has a standard deviation of 0.007."""
    masks = random_masks(torch.arange(4000), 16, 0.75)
    shares = masks.float().mean(dim=0)
    assert (shares - 0.75).abs().max() < 5 * 0.007
    assert len({tuple(mask) for mask in masks.tolist()}) > 1500  # of 1,820 subsets


def test_no_images():
    assert random_masks(torch.zeros(0, dtype=torch.long), 4, 0.75).shape == (0, 4)


@pytest.mark.parametrize(("images", "patches"), [(1, 2), (1, 9), (3, 4), (2, 16)])
def test_visible_patches_are_those_that_are_not_hidden_in_order(images, patches):
    masks = random_masks(torch.arange(images), patches, 0.5)
    expected = [[place for place, hidden in enumerate(row) if not hidden] for row in masks.tolist()]
    assert visible_patches(masks).tolist() == expected


@pytest.mark.parametrize(("images", "side", "times"), [(1, 1, 1), (1, 2, 1), (2, 1, 3), (3, 2, 4)])
def test_grid_masks_enlarge_every_patch(images, side, times):
    masks = random(images, side * side) > 0
    found = grid_masks(masks, times)
    assert found.shape == (images, side * times, side * times)
    for image in range(images):
        for row in range(side * times):
            for column in range(side * times):
                assert found[image, row, column] == masks[image, row // times * side + column // times]


@pytest.mark.parametrize(("images", "patches", "values"), [(1, 2, 1), (1, 4, 3), (3, 2, 1), (2, 9, 4)])
def test_the_patch_loss_is_that_of_a_loop(images, patches, values):
    rebuilt, truth = random(images, patches, values).requires_grad_(), random(images, patches, values, seed=1)
    masks = random_masks(torch.arange(images), patches, 0.5)
    errors = []
    for image in range(images):
        for patch in range(patches):
            if masks[image, patch]:
                square = [(rebuilt[image, patch, k].item() - truth[image, patch, k].item()) ** 2 for k in range(values)]
                errors.append(sum(square) / values)
    loss = hidden_patch_loss(rebuilt, truth, masks)
    assert loss.item() == pytest.approx(sum(errors) / len(errors), rel=1e-5)
    loss.backward()
    assert rebuilt.grad[~masks].eq(0).all()
    assert rebuilt.grad[masks].ne(0).all()


@pytest.mark.parametrize(("images", "channels", "side"), [(1, 1, 2), (1, 3, 4), (2, 1, 2), (3, 3, 6)])
def test_the_pixel_loss_is_that_of_a_loop(images, channels, side):
    rebuilt, truth = random(images, channels, side, side).requires_grad_(), random(images, channels, side, side, seed=1)
    masks = grid_masks(random_masks(torch.arange(images), 4, 0.5), side // 2)
    errors = []
    for image, row, column in masks.nonzero().tolist():
        for channel in range(channels):
            errors.append(abs(rebuilt[image, channel, row, column].item() - truth[image, channel, row, column].item()))
    loss = hidden_pixel_loss(rebuilt, truth, masks)
    assert loss.item() == pytest.approx(sum(errors) / len(errors), rel=1e-5)
    loss.backward()
    shown = masks.unsqueeze(1).expand_as(rebuilt)
    assert rebuilt.grad[~shown].eq(0).all()
    assert rebuilt.grad[shown].ne(0).all()


@given(st.integers(0, 1000))
@settings(max_examples=20)
def test_visible_values_have_no_part_in_the_losses(seed):
    masks = random_masks(torch.tensor([seed, seed + 1]), 16, 0.75)
    images, rebuilt = random(2, 3, 4, 4, seed=seed), random(2, 3, 4, 4, seed=seed + 1)
    shown = grid_masks(masks, 1)
    spoilt = torch.where(shown.unsqueeze(1), rebuilt, 1e6)
    assert hidden_pixel_loss(spoilt, images, shown) == hidden_pixel_loss(rebuilt, images, shown)
    patches, guess = (x.flatten(2).transpose(1, 2) for x in (images, rebuilt))
    spoilt = torch.where(masks.unsqueeze(2), guess, 1e6)
    assert hidden_patch_loss(spoilt, patches, masks) == hidden_patch_loss(guess, patches, masks)
