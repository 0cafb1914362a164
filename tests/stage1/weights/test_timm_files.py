"""Files of timm and of the authors of Swin and MAE, against timm's own networks: equal features with their weights."""

import re

import pytest
import torch
from timm.models.swin_transformer import SwinTransformer
from timm.models.vision_transformer import VisionTransformer

from Stage1.models.transformers import SwinBackbone, VisionTransformerBackbone
from Stage1.weights.backbones import backbone_weights, load_backbone

SWIN = {"depths": (1, 2, 2, 1), "window": 3}
SIDES = {"swin": 96, "vit": 64}


def build(kind):
    if kind == "swin":
        return SwinBackbone(8, SWIN["depths"], (1, 2, 2, 4), SWIN["window"]).eval()
    return VisionTransformerBackbone(16, 2, 2, image_size=64).eval()


@pytest.fixture(scope="module")
def networks():
    """timm's networks, every weight of them random, so that any two that change places show."""
    swin = SwinTransformer(
        img_size=96, patch_size=4, embed_dim=8, depths=SWIN["depths"], num_heads=(1, 2, 2, 4), window_size=3
    )
    vit = VisionTransformer(img_size=64, patch_size=16, embed_dim=16, depth=2, num_heads=2, num_classes=5)
    generator = torch.Generator().manual_seed(0)
    for network in (swin, vit):
        for parameter in network.parameters():
            parameter.data = 0.3 * torch.randn(parameter.shape, generator=generator)
    return {"swin": swin.eval(), "vit": vit.eval()}


def as_authors(state):
    """A Swin's file as its authors keep it: patch merging at the end of its stage, buffers, below "model"."""
    moved = {re.sub(r"layers\.(\d)\.downsample", _one_less, key): value for key, value in state.items()}
    buffers = {"relative_position_index": torch.zeros(9, 9, dtype=torch.long), "attn_mask": torch.zeros(4, 9, 9)}
    moved |= {f"layers.0.blocks.0.{name}": value for name, value in buffers.items() if name == "attn_mask"}
    moved |= {"layers.0.blocks.0.attn.relative_position_index": buffers["relative_position_index"]}
    return {"model": moved}


def _one_less(match):
    return f"layers.{int(match[1]) - 1}.downsample"


def as_mae(state):
    """A ViT's file as the authors of MAE keep it: with decoder, without classifier."""
    kept = {key: value for key, value in state.items() if not key.startswith("head.")}
    return {"model": kept | {"mask_token": torch.ones(1, 1, 8), "decoder_blocks.0.norm1.weight": torch.ones(8)}}


FILES = [
    ("swin", lambda state: state, "a file of timm; left out: head.fc.bias, head.fc.weight"),
    ("swin", as_authors, "a file of the authors; left out: head.fc.bias, head.fc.weight"),
    ("vit", lambda state: state, "a file of timm; left out: head.bias, head.weight"),
    ("vit", as_mae, "a file of timm; left out: decoder_blocks.0.norm1.weight, mask_token"),
]


@pytest.mark.parametrize(("kind", "keep", "report"), FILES)
@torch.no_grad()
def test_their_weights_give_their_features(networks, tmp_path, kind, keep, report):
    network, backbone = networks[kind], build(kind)
    content = keep(network.state_dict())
    torch.save(content, tmp_path / "file.pth")
    loaded = load_backbone(backbone, tmp_path / "file.pth")
    kept = {key for key in backbone.state_dict() if not key.endswith("relative_position_index")}
    assert str(loaded) == f"{len(kept)} tensors from {report}"
    images = torch.randn(2, 3, SIDES[kind], SIDES[kind], generator=torch.Generator().manual_seed(1))
    theirs = network.forward_features(images)  # swin: N, h, w, C; vit: N, 1 + S, C
    theirs = theirs.permute(0, 3, 1, 2) if kind == "swin" else theirs[:, 1:].transpose(1, 2).unflatten(2, (4, 4))
    torch.testing.assert_close(backbone(images), theirs, atol=1e-4, rtol=1e-4)
    weights = backbone_weights(content, "file.pth")
    assert weights.keys() == kept
    assert all(torch.equal(value, backbone.state_dict()[key]) for key, value in weights.items())


@pytest.mark.parametrize("prefix", ["", "backbone."])
@pytest.mark.parametrize("read", [lambda path: load_backbone(build("vit"), path), None])
def test_a_vit_without_class_token_is_refused(networks, tmp_path, prefix, read):
    state = {prefix + key: value for key, value in networks["vit"].state_dict().items() if key != "cls_token"}
    torch.save(state, tmp_path / "file.pth")
    with pytest.raises(ValueError, match=r"found a ViT without class token \(cls_token\) in .*expected one with it"):
        read(tmp_path / "file.pth") if read else backbone_weights(state, "file.pth")


@pytest.mark.parametrize("kind", ["swin", "vit"])
def test_a_missing_layer_is_named_in_the_files_names(networks, tmp_path, kind):
    missing = {"swin": "layers.1.downsample.norm.weight", "vit": "blocks.1.mlp.fc2.bias"}[kind]
    state = {key: value for key, value in networks[kind].state_dict().items() if key != missing}
    torch.save(state, tmp_path / "file.pth")
    with pytest.raises(ValueError, match=re.escape(f"1 missing: {missing}")):
        load_backbone(build(kind), tmp_path / "file.pth")
    with pytest.raises(ValueError, match=re.escape(f"found a backbone without {missing} in file.pth")):
        backbone_weights(state, "file.pth")


def test_position_embeddings_of_another_image_size_are_resized(tmp_path):
    vit = VisionTransformer(img_size=96, patch_size=16, embed_dim=16, depth=2, num_heads=2)
    torch.save(vit.state_dict(), tmp_path / "file.pth")
    backbone = build("vit")
    assert load_backbone(backbone, tmp_path / "file.pth").resized == 1
    assert backbone.encoder.pos_embedding.shape == (1, 17, 16)


def test_resnets_of_timm_have_torchvisions_names(tmp_path):
    from timm.models.resnet import BasicBlock, ResNet

    from Stage1.models.backbone import ResNetC5

    network, backbone = ResNet(BasicBlock, (2, 2, 2, 2)), ResNetC5(18)
    torch.save(network.state_dict(), tmp_path / "file.pth")
    assert str(load_backbone(backbone, tmp_path / "file.pth")).startswith("120 tensors from a torchvision or timm file")
    assert torch.equal(backbone.layer4[1].conv2.weight, network.layer4[1].conv2.weight)
