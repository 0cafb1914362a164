"""MAE: what the encoder sees, what the decoder rebuilds, and what has a part in the loss."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.models.vision_transformer import VisionTransformer

from Stage1.models.mae import MAE
from Stage1.models.masking import random_masks
from Stage1.models.transformers import VisionTransformerBackbone

SMALL = {"width": 16, "depth": 1, "heads": 2, "decoder_width": 8, "decoder_depth": 1, "decoder_heads": 2}
SEEDS = torch.tensor([3, 2**62])


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return MAE(image_size=64, **SMALL)


@pytest.fixture(scope="module")
def images():
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def naive_patches(image):
    """Patches (S, 16 * 16 * 3) of an image (3, H, W), each pixel by pixel with its channels, by plain loops."""
    rows = []
    for top in range(0, image.shape[1], 16):
        for left in range(0, image.shape[2], 16):
            rows.append([image[c, top + y, left + x].item() for y in range(16) for x in range(16) for c in range(3)])
    return torch.tensor(rows)


@torch.no_grad()
def test_with_all_patches_visible_the_encoder_is_the_backbone(model, images):
    tokens = model.backbone.encode_visible(images, torch.arange(16).expand(2, -1))
    assert tokens.shape == (2, 17, 16)
    patches = tokens[:, 1:].transpose(1, 2).reshape(2, 16, 4, 4)
    torch.testing.assert_close(patches, model.backbone(images), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_hidden_patches_do_not_reach_the_model_and_visible_ones_do(model, images):
    masks, rebuilt, tokens = model.rebuild(images, SEEDS)
    assert (masks.shape, rebuilt.shape, tokens.shape) == ((2, 16), (2, 16, 768), (2, 4, 16))
    assert torch.equal(masks, random_masks(SEEDS, 16, 0.75))
    patches = model.patchify(images, 16)
    for hidden in (True, False):
        changed = torch.where((masks == hidden).unsqueeze(2), torch.full_like(patches, 9.0), patches)
        same = torch.allclose(model.rebuild(model.unpatchify(changed, 16), SEEDS)[1], rebuilt, atol=1e-5)
        assert same == hidden


def test_the_loss_is_the_mean_square_of_hidden_patches(model, images):
    outputs = model(images.unsqueeze(1), {"seed": SEEDS}, mode="loss")
    masks, rebuilt, _ = model.rebuild(images, SEEDS)
    errors = [
        (rebuilt[number] - naive_patches(images[number])).square().mean(dim=1)[masks[number]] for number in range(2)
    ]
    assert outputs["loss_hidden_patches"].item() == pytest.approx(torch.cat(errors).mean().item(), rel=1e-5)
    assert 0 < outputs["std_features"].item() < 1
    outputs["loss_hidden_patches"].backward()
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert {name for name, parameter in model.named_parameters() if parameter.grad is not None} == trained


@given(st.integers(1, 3), st.integers(1, 3), st.integers(0, 99))
@settings(max_examples=10, deadline=None)
def test_patchify_and_its_inverse_are_one(images, side, seed):
    torch.manual_seed(seed)
    batch = torch.randn(images, 3, 16 * side, 16 * side)
    model = MAE(image_size=32, **SMALL)
    patches = model.patchify(batch, 16)
    assert torch.equal(model.unpatchify(patches, 16), batch)
    torch.testing.assert_close(patches[0], naive_patches(batch[0]))


def test_the_picture_shows_image_visible_and_rebuilt(model, images):
    panels = model.picture(images, SEEDS)
    masks, rebuilt, _ = model.rebuild(images, SEEDS)
    assert panels.shape == (2, 3, 3, 64, 64) and not panels.requires_grad
    shown, visible, whole = (model.patchify(panels[:, panel], 16) for panel in range(3))
    assert torch.equal(panels[:, 0], images)
    assert visible[masks].eq(0).all() and torch.equal(visible[~masks], shown[~masks])
    torch.testing.assert_close(whole[masks], rebuilt[masks])
    assert torch.equal(whole[~masks], shown[~masks])


def test_published_network_loads_into_torchvisions():
    with torch.device("meta"):
        backbone = VisionTransformerBackbone()
        vit = VisionTransformer(256, 16, 12, 12, 768, 3072)
    theirs = {name: value.shape for name, value in vit.state_dict().items() if not name.startswith("heads.")}
    assert {name: value.shape for name, value in backbone.state_dict().items()} == theirs


def test_positions_are_fixed_and_of_two_axes(model):
    """Sines and cosines of row and column: patches of a row share one half of the channels, of a column the other."""
    positions = model.backbone.encoder.pos_embedding
    assert not positions.requires_grad
    assert positions[0, 0].eq(0).all()
    grid = positions[0, 1:].view(4, 4, 16)
    halves = grid.split(8, dim=2)
    constant = [[half.std(dim=axis).max() < 1e-6 for half in halves] for axis in (0, 1)]
    assert sorted(constant) == [[False, True], [True, False]]


@pytest.mark.parametrize(
    ("own", "seen", "fitting"), [(256, 224, 224), (224, 256, 256), (40, 40, 32), (16, 16, 32), (8, 8, 32)]
)
def test_views_of_another_size_are_refused(own, seen, fitting):
    with pytest.raises(ValueError, match=f"found views of {seen} pixels and a network for {own}, .*size={fitting}$"):
        MAE.check_settings({"image_size": own}, {"image_size": seen}, 4)
    MAE.check_settings({"image_size": fitting}, {"image_size": fitting}, 4)
