"""Transformer backbones, in small: torchvision's own networks without classifier."""

import pytest
import torch
from torchvision.models.swin_transformer import SwinTransformer
from torchvision.models.vision_transformer import VisionTransformer

from Stage1.models.transformers import (
    SwinBackbone,
    VisionTransformerBackbone,
    swin_tiny,
    transformer_of,
    vit_tiny,
)
from Stage2.models.encoders import autocast


def small_swin():
    return SwinBackbone(width=8, depths=(1, 1, 2, 1), heads=(1, 2, 2, 4), window=3)


def small_vit():
    return VisionTransformerBackbone(width=16, depth=2, heads=2, image_size=64)


@pytest.fixture(scope="module")
def images():
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def without_classifier(network, *beginnings):
    return {key: value for key, value in network.state_dict().items() if not key.startswith(beginnings)}


@torch.no_grad()
def test_swin_is_torchvisions_up_to_the_pooling(images):
    torch.manual_seed(1)
    whole = SwinTransformer([4, 4], 8, [1, 1, 2, 1], [1, 2, 2, 4], [3, 3], num_classes=5).eval()
    backbone = small_swin().eval()
    backbone.load_state_dict(without_classifier(whole, "head."))
    features = backbone(images)
    assert features.shape == (2, backbone.out_channels, 2, 2) == (2, 64, 2, 2)
    torch.testing.assert_close(whole.head(features.mean(dim=(2, 3))), whole(images))


@torch.no_grad()
def test_vit_is_torchvisions_with_patches_instead_of_the_class_token(images):
    torch.manual_seed(1)
    whole = VisionTransformer(64, 16, 2, 2, 16, 64).eval()
    backbone = small_vit().eval()
    backbone.load_state_dict(without_classifier(whole, "heads."))
    features = backbone(images)
    assert features.shape == (2, backbone.out_channels, 4, 4)
    tokens = whole.encoder(torch.cat([whole.class_token.expand(2, -1, -1), whole._process_input(images)], dim=1))
    for row in range(4):
        for column in range(4):
            torch.testing.assert_close(features[:, :, row, column], tokens[:, 1 + 4 * row + column])


@pytest.mark.parametrize("build", [small_swin, small_vit])
def test_training_uses_every_weight_and_nothing_random(images, build):
    backbone = build().train()
    first, again = backbone(images), backbone(images)
    assert torch.equal(first, again)
    (first**3).sum().backward()
    assert [name for name, parameter in backbone.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize("build", [small_swin, small_vit])
@torch.no_grad()
def test_other_memory_layout_and_bfloat16_change_features_little(images, build):
    torch.manual_seed(3)
    backbone = build().eval()
    exact = backbone(images)
    with autocast(images.device, "bf16"):
        rounded = backbone(images).float()
    assert 0 < (rounded - exact).norm() / exact.norm() < 0.05
    torch.testing.assert_close(backbone.to(memory_format=torch.channels_last)(images), exact, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "build",
    [lambda: SwinBackbone(8, (1, 2, 1, 1), (1, 2, 2, 4), window=3), lambda: VisionTransformerBackbone(64, 2, 1, 32)],
)
@torch.no_grad()
def test_the_network_of_a_files_weights_is_told_by_their_shapes(images, build):
    source = build().eval()
    found = transformer_of(source.state_dict(), image_size=32)().eval()
    found.load_state_dict(source.state_dict())
    images = images[:, :, :32, :32]
    assert torch.equal(found(images), source(images))


def test_a_vit_whose_width_does_not_tell_its_heads_is_refused():
    with pytest.raises(ValueError, match="found a ViT of 16 channels, expected a multiple of 64"):
        transformer_of(small_vit().state_dict(), image_size=64)


@pytest.mark.parametrize(("build", "count"), [(swin_tiny, 27_519_354), (vit_tiny, 5_524_416)])
def test_small_encoders_have_the_published_sizes(build, count):
    """Parameters of Swin-T without classifier; of ViT-Ti/16 for 224 pixels, of which 256 have 60 positions more."""
    with torch.device("meta"):
        found = sum(parameter.numel() for parameter in build().parameters())
    assert found == count + (60 * 192 if build is vit_tiny else 0)


def test_vit_refuses_images_it_has_no_positions_for():
    with pytest.raises(ValueError, match=r"found images of 64 x 32 pixels, expected 64 x 64, .* resize the images"):
        small_vit()(torch.zeros(1, 3, 64, 32))
