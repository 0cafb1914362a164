"""ResNet backbones: dilation as torchvision's rule has it, and torchvision's own network without classifier."""

import pytest
import torch
from torchvision.models import resnet18, resnet50

from Stage2.models.resnets import DilatedResNet, PlainResNet


def test_dilations_of_resnet_18_follow_torchvisions_rule():
    layers = DilatedResNet(18)
    found = {
        name: (module.stride, module.dilation)
        for name, module in layers.named_modules()
        if name.startswith(("layer3", "layer4")) and ".conv" in name
    }
    assert found == {
        **{f"layer3.{place}": ((1, 1), (1, 1)) for place in ("0.conv1",)},
        **{f"layer3.{place}": ((1, 1), (2, 2)) for place in ("0.conv2", "1.conv1", "1.conv2")},
        **{f"layer4.{place}": ((1, 1), (2, 2)) for place in ("0.conv1",)},
        **{f"layer4.{place}": ((1, 1), (4, 4)) for place in ("0.conv2", "1.conv1", "1.conv2")},
    }


def test_dilated_resnet_18_computes_the_strided_network_at_a_finer_grid():
    """At every second (fourth) position the dilated features equal those of the plain network with the same weights."""
    torch.manual_seed(1)
    plain = resnet18().eval()
    dilated = DilatedResNet(18).eval()
    dilated.load_state_dict({key: value for key, value in plain.state_dict().items() if not key.startswith("fc.")})
    images = torch.randn(1, 3, 256, 256)
    with torch.no_grad():
        features = plain.maxpool(plain.relu(plain.bn1(plain.conv1(images))))
        expected = plain.layer3(plain.layer2(plain.layer1(features)))  # stride 16
        found = dilated.layer3(dilated.layer2(dilated.layer1(features)))  # stride 8
        torch.testing.assert_close(found[..., ::2, ::2], expected, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(dilated.layer4(found)[..., ::4, ::4], plain.layer4(expected), atol=1e-4, rtol=1e-4)


def test_plain_resnet_is_torchvisions_up_to_the_pooling():
    torch.manual_seed(2)
    whole = resnet50().eval()
    backbone = PlainResNet(50).eval()
    backbone.load_state_dict({key: value for key, value in whole.state_dict().items() if not key.startswith("fc.")})
    images = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        features = backbone(images)
        assert features.shape == (1, backbone.out_channels, 64 // backbone.stride, 96 // backbone.stride)
        torch.testing.assert_close(whole.fc(features.mean(dim=(2, 3))), whole(images))


@pytest.mark.parametrize("depth", [18, 50])
def test_dilated_resnets_have_stride_8(depth):
    backbone = DilatedResNet(depth).eval()
    with torch.no_grad():
        assert backbone(torch.randn(2, 3, 64, 32)).shape == (2, backbone.out_channels, 8, 4)
