"""SimMIM: what is hidden, what is rebuilt, and what has a part in the loss."""

import pytest
import torch
from torchvision.models.swin_transformer import SwinTransformer

from Stage1.models.masking import random_masks
from Stage1.models.simmim import SimMIM

SMALL = {"width": 8, "depths": (1, 1, 1, 1), "heads": (1, 2, 2, 4), "window": 2}


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return SimMIM(**SMALL)


@pytest.fixture(scope="module")
def images():
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


SEEDS = torch.tensor([3, 2**62])


@torch.no_grad()
def test_with_nothing_hidden_the_encoder_is_the_backbone(model, images):
    nothing = torch.zeros(2, 16, 16, dtype=torch.bool)
    torch.testing.assert_close(model.backbone.encode_masked(images, nothing, model.mask_token), model.backbone(images))


@torch.no_grad()
def test_hidden_pixels_do_not_reach_the_features_and_visible_ones_do(model, images):
    """Squares of 32 pixels are hidden whole."""
    masks, rebuilt, features = model.rebuild(images, SEEDS)
    assert (masks.shape, rebuilt.shape, features.shape) == ((2, 64, 64), (2, 3, 64, 64), (2, 64, 2, 2))
    squares = random_masks(SEEDS, 4, 0.75).view(2, 2, 2)
    for row in range(64):
        for column in range(0, 64, 7):
            assert masks[0, row, column] == squares[0, row // 32, column // 32]
    other = torch.where(masks.unsqueeze(1), torch.full_like(images, 9.0), images)
    assert torch.equal(model.rebuild(other, SEEDS)[1], rebuilt)
    other = torch.where(masks.unsqueeze(1), images, torch.full_like(images, 9.0))
    assert not torch.allclose(model.rebuild(other, SEEDS)[1], rebuilt)


def test_the_loss_is_the_mean_error_of_hidden_pixels(model, images):
    outputs = model(images.unsqueeze(1), {"seed": SEEDS}, mode="loss")
    masks, rebuilt, _ = model.rebuild(images, SEEDS)
    errors = [(rebuilt - images).abs()[number][:, masks[number]].flatten() for number in range(2)]
    assert outputs["loss_hidden_pixels"].item() == pytest.approx(torch.cat(errors).mean().item(), rel=1e-5)
    assert 0 < outputs["std_features"].item() < 1
    outputs["loss_hidden_pixels"].backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []


def test_the_decoder_is_one_convolution_whose_channels_become_pixels(model):
    features = torch.randn(1, 64, 1, 2)
    weight, bias = model.decoder[0].weight[:, :, 0, 0], model.decoder[0].bias
    rebuilt = model.decoder(features)
    assert rebuilt.shape == (1, 3, 32, 64)
    for channel, row, column in [(0, 0, 0), (1, 3, 40), (2, 31, 63)]:
        place = channel * 32 * 32 + row % 32 * 32 + column % 32
        expected = weight[place] @ features[0, :, row // 32, column // 32] + bias[place]
        torch.testing.assert_close(rebuilt[0, channel, row, column], expected)


def test_the_picture_shows_image_visible_and_rebuilt(model, images):
    panels = model.picture(images, SEEDS)
    masks, rebuilt, _ = model.rebuild(images, SEEDS)
    assert panels.shape == (2, 3, 3, 64, 64) and not panels.requires_grad
    for number in range(2):
        hidden = masks[number]
        assert torch.equal(panels[number, 0], images[number])
        assert panels[number, 1][:, hidden].eq(0).all()
        torch.testing.assert_close(panels[number, 2][:, hidden], rebuilt[number][:, hidden])
        for panel in (1, 2):
            assert torch.equal(panels[number, panel][:, ~hidden], images[number][:, ~hidden])


def test_published_network_loads_into_torchvisions():
    with torch.device("meta"):
        model = SimMIM()
        swin = SwinTransformer([4, 4], 128, [2, 2, 18, 2], [4, 8, 16, 32], [7, 7])
    own = {name.removeprefix("backbone."): value.shape for name, value in model.state_dict().items()}
    extra = {"mask_token", "decoder.0.weight", "decoder.0.bias"}
    theirs = {name: value.shape for name, value in swin.state_dict().items() if not name.startswith("head.")}
    assert {name: shape for name, shape in own.items() if name not in extra} == theirs
    assert own["decoder.0.weight"] == (3 * 32 * 32, 1024, 1, 1)


@pytest.mark.parametrize(("side", "fitting"), [(32, 64), (48, 64), (100, 96), (16, 64)])
def test_views_of_another_size_are_refused(side, fitting):
    with pytest.raises(ValueError, match=f"found views of {side} pixels, expected a multiple of 32 .*size={fitting}$"):
        SimMIM.check_settings({}, {"image_size": side}, 4)
    SimMIM.check_settings({}, {"image_size": fitting}, 4)
