"""The adapted network has scores at every pixel whatever its encoder, and the head sums the parts of a class."""

import math

import pytest
import torch

from Stage2.adaptation.network import FINEST, WIDTHS, AdaptedNetwork, Decoder, Head
from Stage2.models.registry import ENCODERS
from Stage2.models.resnets import PlainResNet


@pytest.mark.parametrize("name", [*ENCODERS, "toy"])
def test_scores_have_the_shape_of_the_images(toy, name):
    side = 256 if "vit" in name else 64
    network = AdaptedNetwork(name, 3).eval()
    with torch.inference_mode():
        images = torch.randn(1, 3, side, side)
        features, scores = network.features(images), network(images)
    assert features.shape == (1, WIDTHS[FINEST], side // 2, side // 2)
    assert scores.shape == (1, 4, side, side)
    assert network.image_size == (256 if "vit" in name else None)
    assert (network.stem is None) == ("res" in name)


@pytest.mark.parametrize("name", ["dlfcn_res18", "dlfcn_res50"])
def test_a_dilated_encoder_runs_with_its_strides_and_keeps_its_names(name):
    network = AdaptedNetwork(name, 1)
    assert isinstance(network.backbone, PlainResNet)
    assert network.backbone.stride == 32
    dilated = AdaptedNetwork(name, 1).backbone.state_dict()
    assert {key: value.shape for key, value in dilated.items()} == {
        key: value.shape for key, value in network.backbone.state_dict().items()
    }


def test_the_pyramid_ends_in_the_features_of_forward():
    backbone = PlainResNet(18).eval()
    images = torch.randn(2, 3, 64, 96)
    with torch.inference_mode():
        deepest, found = backbone.pyramid(images)
        assert torch.equal(deepest, backbone(images))
    shapes = {stride: tuple(features.shape[1:]) for stride, features in found.items()}
    assert shapes == {s: (backbone.pyramid_channels[s], 64 // s, 96 // s) for s in (2, 4, 8, 16)}


@pytest.mark.parametrize("assignment", [[0], [0, 1], [0, 1, 0], [2, 0, 1, 2, 2, 0]])
def test_a_class_is_the_sum_of_its_parts(assignment):
    head = Head(3, torch.tensor(assignment))
    features = torch.randn(2, 3, 2, 1)
    with torch.no_grad():
        scores, parts = head(features), head.parts(features)
    assert scores.shape == (2, max(assignment) + 1, 2, 1)
    for b in range(2):
        for y in range(2):
            for own in range(max(assignment) + 1):
                total = sum(math.exp(parts[b, n, y, 0]) for n, to in enumerate(assignment) if to == own)
                assert scores[b, own, y, 0].item() == pytest.approx(math.log(total), abs=1e-5)


def test_a_class_without_a_part_is_refused():
    with pytest.raises(ValueError, match="expected every class once at least"):
        Head(3, torch.tensor([0, 2]))


@pytest.mark.parametrize("stride", [2, 4, 16])
def test_the_decoder_of_any_stride(stride):
    decoder = Decoder(5, stride, {2: 7})
    skips = {2: torch.randn(2, 7, 16, 16)}
    assert decoder(torch.randn(2, 5, 32 // stride, 32 // stride), skips).shape == (2, WIDTHS[FINEST], 16, 16)


@pytest.mark.parametrize("stride", [1, 6])
def test_a_stride_that_cannot_be_doubled_up_is_refused(stride):
    with pytest.raises(ValueError, match="expected a power of 2 from 2 up"):
        Decoder(5, stride, {})
