"""SimCLR: its loss against a loop and MMPretrain's formula, its network, and what swapping the views changes."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F
from torchvision import models

from Stage1.models.simclr import SimCLR


def views(images=4, seed=1):
    return torch.randn(images, 2, 3, 32, 32, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return SimCLR(depth=18, feature_channels=16).train()


def naive_nt_xent(first, second, temperature):
    """Mean over all 2 N views of -log of the share of their partner among the other 2 N - 1, by plain Python."""
    rows = [*first.tolist(), *second.tolist()]
    rows = [[x / math.sqrt(sum(y * y for y in row)) for x in row] for row in rows]
    half, losses = len(first), []
    for own, row in enumerate(rows):
        partner = (own + half) % (2 * half)
        similar = {
            other: math.exp(sum(a * b for a, b in zip(row, rows[other], strict=True)) / temperature)
            for other in range(2 * half) if other != own
        }  # fmt: skip
        losses.append(-math.log(similar[partner] / sum(similar.values())))
    return sum(losses) / len(losses)


def mmpretrain_nt_xent(first, second, temperature):
    """MMPretrain's SimCLR head: cross-entropy of the positive, put first, among 2 N - 1 others."""
    features = F.normalize(torch.stack([first, second], dim=1).flatten(0, 1))  # 2 N, D; the views of an image adjoin
    count = len(features)
    similar = features @ features.T
    others = similar[~torch.eye(count, dtype=torch.bool)].view(count, count - 1)
    positive = torch.zeros(count, count, dtype=torch.bool)
    for row in range(count):
        positive[row, row + 1 if row % 2 == 0 else row - 1] = True
    positive = positive[~torch.eye(count, dtype=torch.bool)].view(count, count - 1)
    logits = torch.cat([others[positive].view(count, 1), others[~positive].view(count, count - 2)], dim=1)
    return F.cross_entropy(logits / temperature, torch.zeros(count, dtype=torch.long))


@pytest.mark.parametrize(("images", "channels"), [(1, 1), (1, 4), (2, 1), (3, 8), (5, 2)])
@pytest.mark.parametrize("temperature", [0.1, 1.0])
def test_nt_xent_is_that_of_a_loop_and_of_mmpretrain(images, channels, temperature):
    generator = torch.Generator().manual_seed(images)
    first, second = torch.randn(2, images, channels, generator=generator)
    loss = SimCLR(depth=18, temperature=temperature).nt_xent(first, second)
    assert loss.item() == pytest.approx(naive_nt_xent(first, second, temperature), rel=1e-4, abs=1e-5)
    torch.testing.assert_close(loss, mmpretrain_nt_xent(first, second, temperature), rtol=1e-4, atol=1e-5)


@given(st.integers(1, 6), st.integers(1, 8), st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_swapped_views_and_images_do_not_change_nt_xent(model_of_loss, images, channels, seed):
    generator = torch.Generator().manual_seed(seed)
    first, second = torch.randn(2, images, channels, generator=generator)
    loss = model_of_loss(first, second)
    torch.testing.assert_close(model_of_loss(second, first), loss)
    order = torch.randperm(images, generator=generator)
    torch.testing.assert_close(model_of_loss(first[order], second[order]), loss)
    torch.testing.assert_close(model_of_loss(3 * first, second), loss)


@pytest.fixture(scope="module")
def model_of_loss(model):
    return model.nt_xent


def test_the_models_loss_is_nt_xent_of_the_projections(model):
    """Batch norm sees both views as one batch, as MMPretrain has it."""
    batch = views()
    with torch.no_grad():
        outputs = model(batch, mode="loss")
        pooled = model.backbone(torch.cat([batch[:, 0], batch[:, 1]])).mean(dim=(2, 3))
        projections = model.neck(pooled)
    assert set(outputs) == {"loss_nt_xent", "std_features"}
    expected = naive_nt_xent(*projections.chunk(2), 0.1)
    assert outputs["loss_nt_xent"].item() == pytest.approx(expected, rel=1e-4)
    spread = F.normalize(projections).std(dim=0, correction=0).mean()
    assert outputs["std_features"].item() == pytest.approx(spread.item(), rel=0.2)


def test_published_network():
    with torch.device("meta"):
        model = SimCLR()
        resnet = models.resnet50()
    weights = {name: tuple(value.shape) for name, value in model.neck.named_parameters() if value.ndim == 2}
    assert list(weights.values()) == [(2048, 2048), (128, 2048)]
    own = {name: value.shape for name, value in model.backbone.state_dict().items()}
    assert own == {name: value.shape for name, value in resnet.state_dict().items() if not name.startswith("fc.")}


def test_the_last_batch_norm_of_every_block_starts_with_weight_zero():
    backbone = SimCLR(depth=18).backbone
    for name, parameter in backbone.named_parameters():
        if name.startswith("layer") and name.endswith(".bn2.weight"):
            assert parameter.eq(0).all(), name
        elif name.endswith("bn1.weight"):
            assert parameter.eq(1).all(), name


def test_its_backbone_loads_into_torchvisions_network(model):
    """Strictly, but for the classifier, by the names in a checkpoint."""
    reference = models.resnet18()
    state = {name.removeprefix("backbone."): value for name, value in model.state_dict().items()}
    state = {name: value for name, value in state.items() if not name.startswith(("neck.", "nt_xent."))}
    head = {name: value for name, value in reference.state_dict().items() if name.startswith("fc.")}
    reference.load_state_dict(state | head)


def test_every_weight_learns(model):
    sum(value for name, value in model(views(), mode="loss").items() if name.startswith("loss")).backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []


def test_bf16_changes_the_loss_little():
    losses = []
    for precision in ("fp32", "bf16"):
        torch.manual_seed(0)
        loss = SimCLR(depth=18, precision=precision).train()(views(), mode="loss")["loss_nt_xent"]
        assert loss.dtype == torch.float32
        losses.append(loss.item())
    assert 0 < abs(losses[0] - losses[1]) < 0.2
