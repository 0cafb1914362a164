"""Encoders: the published names, one grid of features for all of them, and the pooling window on it."""

import pytest
import torch
from torch.nn import functional

from Stage2.models.encoders import Encoder, pooling_window
from Stage2.models.registry import ENCODERS

COARSE = {  # name -> backbone channels, side of its features for 256 pixels
    "dlfcn_res50_mmcv": (2048, 8),
    "dlfcn_res101_mmcv": (2048, 8),
    "dlfcn_swin_mmcv": (1024, 8),
    "dlfcn_vit_mmcv": (768, 16),
    "dlfcn_res18_mmcv": (512, 8),
    "dlfcn_swin_tiny_mmcv": (768, 8),
    "dlfcn_vit_tiny_mmcv": (192, 16),
}


def test_published_names():
    assert ["dlfcn_res18", "dlfcn_res50", "dlfcn_res101", *COARSE] == list(ENCODERS)
    with pytest.raises(ValueError, match=r"modelname=vgg is unknown; choose one of dlfcn_res18, .*, dlfcn_vit_mmcv, "):
        Encoder("vgg")


@pytest.fixture(scope="module", params=COARSE)
def coarse(request):
    """An encoder with a coarse backbone, the backbone's features of an image, and the encoder's."""
    torch.manual_seed(0)
    encoder = Encoder(request.param).eval()
    inner = []
    encoder.backbone.register_forward_hook(lambda module, images, features: inner.append(features))
    with torch.no_grad():
        features = encoder(torch.randn(1, 3, 256, 256))
    return encoder, inner[0], features


def test_coarse_features_are_upsampled_to_stride_8(coarse):
    encoder, inner, features = coarse
    channels, side = COARSE[encoder.name]
    assert inner.shape == (1, channels, side, side)
    assert features.shape == (1, 256, 32, 32)
    finer = functional.interpolate(inner, (32, 32), mode="bilinear", align_corners=False)
    expected = torch.einsum("oc,bchw->bohw", encoder.localconv.weight[:, :, 0, 0], finer)
    torch.testing.assert_close(features, expected, atol=1e-4, rtol=1e-4)


def test_coarse_encoders_hold_no_unused_weights(coarse):
    encoder, _, _ = coarse
    used = {id(parameter) for parameter in encoder.trained_parameters()}
    assert {id(parameter) for parameter in encoder.parameters()} == used


@pytest.mark.parametrize(("name", "channels"), [("dlfcn_res18", 512), ("dlfcn_res50", 2048)])
def test_dilated_encoders_keep_the_names_of_released_snapshots(name, channels):
    encoder = Encoder(name).eval()
    assert {key.split(".")[0] for key in encoder.state_dict()} == {"backbone", "aspp_out", "asppconv", "localconv"}
    assert encoder.localconv.weight.shape == (256, channels, 1, 1)
    with torch.no_grad():
        assert encoder(torch.randn(2, 3, 64, 64)).shape == (2, 256, 8, 8)


def test_pooling_window():
    assert pooling_window(256, 8) == 4
    with pytest.raises(ValueError, match="proto_grid_size=7 must divide the feature grid's side, 32"):
        pooling_window(256, 7)
