"""The segmenter: losses, PA-Net, the alignment loss as a reverse episode."""

import pytest
import torch
from torch.nn import functional

from Stage2.models.few_shot import FewShotSegmenter


@pytest.fixture(scope="module")
def episode():
    generator = torch.Generator().manual_seed(0)
    support, query = torch.randn(2, 1, 3, 128, 128, generator=generator)
    foreground = torch.zeros(1, 128, 128)
    foreground[:, 10:90, 10:90] = 1
    return {
        "support_image": support + foreground[:, None],
        "support_foreground": foreground,
        "query_image": query + foreground[:, None],
        "query_label": foreground.long(),
    }


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return FewShotSegmenter("dlfcn_res18")


def test_losses_reach_the_used_weights_only(model, episode):
    losses = model.training_losses(**episode, window=2)
    assert losses["logits"].shape == (1, 2, 128, 128)
    (losses["query_loss"] + losses["align_loss"]).backward()
    used = {id(parameter) for parameter in model.trained_parameters()}
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == (id(parameter) in used), name
    model.zero_grad()


def test_alignment_loss_is_the_reverse_episode(model, episode):
    """Support and query change places, and the prediction is the mask: the same loss as a forward episode."""
    model.train()
    features = model.encode(torch.cat([episode["support_image"], episode["query_image"]]))
    support, query = features[:1], features[1:]
    foreground = episode["support_foreground"]
    scores = model.scores(query, model.prototypes(support, foreground, 1 - foreground, 2))
    predicted = scores.argmax(dim=1).float()
    reverse = model.logits(support, model.prototypes(query, predicted, 1 - predicted, 2), (128, 128))
    expected = functional.cross_entropy(reverse, foreground.long())
    torch.testing.assert_close(model.alignment_loss(scores, query, support, foreground, 2), expected)


def test_without_alignment_the_loss_is_zero(model, episode):
    assert model.training_losses(**episode, window=2, align=False)["align_loss"].item() == 0


def test_class_weights_can_be_switched_off(model, episode):
    model.eval()
    with torch.no_grad():
        losses = model.training_losses(**episode, window=2, weigh_classes=False)
    expected = functional.cross_entropy(losses["logits"], episode["query_label"])
    torch.testing.assert_close(losses["query_loss"], expected)
    weighted = functional.cross_entropy(losses["logits"], episode["query_label"], weight=torch.tensor([0.05, 1.0]))
    with torch.no_grad():
        torch.testing.assert_close(model.training_losses(**episode, window=2)["query_loss"], weighted)


def test_panet_has_one_masked_average_per_class(episode):
    model = FewShotSegmenter("dlfcn_res18", "global_proto").eval()
    foreground = episode["support_foreground"]
    with torch.no_grad():
        features = model.encode(episode["support_image"])
        prototypes = model.prototypes(features, foreground, 1 - foreground, window=2)
    small = functional.interpolate(foreground[:, None], features.shape[-2:], mode="bilinear")
    for found, mask in zip(prototypes, (1 - small, small), strict=True):
        expected = (features * mask).sum(dim=(2, 3)) / mask.sum()
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    # a support that is all foreground is no fault here: the background prototype is zero and scores zero
    everything = torch.ones_like(foreground)
    assert model.prototypes(features, everything, 1 - everything, window=2).background.abs().max() == 0


def test_bfloat16_changes_features_little(episode):
    torch.manual_seed(0)
    model = FewShotSegmenter("dlfcn_res18").eval()
    image = episode["query_image"][..., :32, :32]  # processors that lack bfloat16 take seconds for more
    with torch.no_grad():
        exact = model.encode(image)
        model.precision = "bf16"
        rounded = model.encode(image)
    assert rounded.dtype == torch.float32
    assert 0 < (rounded - exact).norm() / exact.norm() < 0.03


def test_unknown_prototypes_are_refused():
    with pytest.raises(ValueError, match="clsname=x is unknown; choose one of grid_proto, global_proto, anomaly"):
        FewShotSegmenter("dlfcn_res18", "x")
