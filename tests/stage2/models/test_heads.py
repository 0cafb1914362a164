"""Heads with a parameter and losses of their own: optimised, saved under the names that they give, recognised."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from Stage1.weights.checkpoints import read_checkpoint
from Stage2.models.few_shot import FewShotSegmenter
from Stage2.models.heads import GlobalPrototypeHead
from Stage2.models.registry import ENCODERS, HEADS, build
from Stage2.models.snapshots import SnapshotKind, describe_snapshot, load_snapshot, save_snapshot
from Stage2.optimisation.training import Training


class ThresholdHead(GlobalPrototypeHead):
    """Foreground where the similarity to one prototype is above a learned threshold `t`, as probabilities."""

    key_prefix = ""
    class_weights = (0.1, 1.0)

    def __init__(self):
        super().__init__()
        self.t = nn.Parameter(torch.tensor(-10.0))

    def scores(self, query_features, prototypes):
        negative = -super().scores(query_features, [prototypes.foreground])
        foreground = 1 - torch.sigmoid(0.5 * (negative - self.t))
        return torch.cat([1 - foreground, foreground], dim=1)

    def upsample(self, scores, size):
        return functional.interpolate(scores, size, mode="bilinear", align_corners=True).clamp(1e-7, 1 - 1e-7).log()

    def losses(self, *arguments, **options):
        losses = super().losses(*arguments, **options)
        return losses | {"threshold_loss": self.t / 20}


class TinyBackbone(nn.Module):
    """A backbone of one convolution: (B, 3, H, W) -> (B, 4, H/16, W/16)."""

    stride, out_channels = 16, 4

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, self.out_channels, self.stride, stride=self.stride)

    def forward(self, images):
        return self.patches(images)


@pytest.fixture
def model(monkeypatch):
    monkeypatch.setitem(HEADS, "threshold", ThresholdHead)
    monkeypatch.setitem(ENCODERS, "tiny", TinyBackbone)
    torch.manual_seed(0)
    return FewShotSegmenter("tiny", "threshold")


def episode():
    generator = torch.Generator().manual_seed(0)
    foreground = torch.zeros(1, 64, 64)
    foreground[:, 8:48, 8:40] = 1
    images = torch.randn(2, 1, 3, 64, 64, generator=generator) + foreground[:, None]
    return {
        "support_image": images[0], "support_foreground": foreground,
        "query_image": images[1], "query_label": foreground.long(),
    }  # fmt: skip


def test_a_heads_parameter_and_loss_are_trained(model):
    training = Training(model, learning_rate=0.1, decay=0.95)
    losses = training.take_step(episode(), window=2)
    assert set(losses) == {"query_loss", "align_loss", "threshold_loss", "total_loss", "lr"}
    parts = (losses[f"{name}_loss"] for name in ("query", "align", "threshold"))
    assert losses["total_loss"] == pytest.approx(sum(parts))
    assert model.head.t.item() != -10


def test_its_parameter_has_the_name_that_the_head_gives_and_a_snapshot_says_both_names(model, tmp_path, monkeypatch):
    assert set(model.state_dict()) == {
        "encoder.backbone.patches.weight", "encoder.backbone.patches.bias", "encoder.localconv.weight", "t",
    }  # fmt: skip
    with torch.no_grad():
        model.head.t.fill_(3)
    save_snapshot(model, tmp_path / "5.pth")
    content = read_checkpoint(tmp_path / "5.pth")
    assert describe_snapshot(content) == SnapshotKind("tiny", "threshold")
    fresh = FewShotSegmenter("tiny", "threshold")
    load_snapshot(fresh, tmp_path / "5.pth")
    assert fresh.head.t.item() == 3
    with pytest.raises(ValueError, match=r"is a snapshot of threshold and this network is grid_proto; set clsname"):
        load_snapshot(FewShotSegmenter("tiny"), tmp_path / "5.pth")
    monkeypatch.setattr(ThresholdHead, "key_prefix", "head.")
    assert "head.t" in FewShotSegmenter("tiny", "threshold").state_dict()


def test_segmenting_goes_through_the_heads_own_upsampling(model):
    given = episode()
    features = model.encode(given["support_image"])
    foreground = given["support_foreground"]
    prototypes = model.prototypes(features, foreground, 1 - foreground, 2)
    logits = model.logits(features, prototypes, (64, 64))
    scores = model.scores(features, prototypes)
    expected = functional.interpolate(scores, (64, 64), mode="bilinear", align_corners=True)
    torch.testing.assert_close(logits.softmax(dim=1), expected, atol=1e-5, rtol=1e-4)
    assert torch.equal(model.segment(given["support_image"], prototypes), logits)


def test_registries_find_classes_by_place_and_name_what_there_is(monkeypatch):
    monkeypatch.setitem(HEADS, "placed", "Stage2.models.heads:GlobalPrototypeHead")
    assert type(build(HEADS, "placed", "clsname")) is GlobalPrototypeHead
    names = "grid_proto, global_proto, anomaly, anomaly_query, placed"
    with pytest.raises(ValueError, match=f"clsname=x is unknown; choose one of {names}"):
        build(HEADS, "x", "clsname")
    monkeypatch.setattr(TinyBackbone, "stride", 12)
    monkeypatch.setitem(ENCODERS, "tiny", TinyBackbone)
    with pytest.raises(ValueError, match="modelname=tiny has stride 12; expected a multiple of 8"):
        FewShotSegmenter("tiny")
