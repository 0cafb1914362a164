"""The DenseCL model: what a step changes, what it learns, its options."""

import pytest
import torch
from torchvision import models

from Stage1.models.densecl import DenseCL


@pytest.fixture
def model():
    torch.manual_seed(0)
    return DenseCL(depth=18, queue_length=32).train()


@pytest.fixture
def views():
    return torch.randn(8, 2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def losses_of(outputs):
    return {name: value for name, value in outputs.items() if name.startswith("loss")}


def test_a_step_moves_the_key_encoder_by_momentum_and_the_queues_by_the_batch(model, views):
    with torch.no_grad():
        for parameter in model.encoder_k.parameters():
            parameter.add_(0.01)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    losses = losses_of(model(views, mode="loss"))
    sum(losses.values()).backward()
    after = model.state_dict()

    for name, _ in model.encoder_k.named_parameters():
        query, key = before[f"encoder_q.{name}"], before[f"encoder_k.{name}"]
        torch.testing.assert_close(after[f"encoder_k.{name}"], 0.999 * key + 0.001 * query)
        assert torch.equal(after[f"encoder_q.{name}"], query)
    assert all(parameter.grad is None for parameter in model.encoder_k.parameters())
    assert all(parameter.grad is not None for parameter in model.encoder_q.parameters())
    for queue in ("queue", "queue2"):
        assert after[f"{queue}_ptr"].item() == 8
        assert not torch.equal(after[queue][:, :8], before[queue][:, :8])
        assert torch.equal(after[queue][:, 8:], before[queue][:, 8:])
        torch.testing.assert_close(after[queue].norm(dim=0), torch.ones(32))


def test_losses_use_the_queues_of_earlier_batches(model, views):
    """A step leaves its own keys in the queue; taken as negatives at once, they would raise the loss."""
    with torch.no_grad():
        start = {name: value.clone() for name, value in model.state_dict().items()}
        first = model(views, mode="loss")
        model.load_state_dict(start)
        model.queue_ptr.fill_(24)  # where the keys go must not matter to this step
        model.queue2_ptr.fill_(24)
        again = model(views, mode="loss")
    for name, loss in first.items():
        assert again[name].item() == pytest.approx(loss.item(), abs=1e-6)


@pytest.mark.parametrize("weight", [0.0, 0.25, 1.0])
def test_loss_lambda_weighs_dense_against_global(model, views, weight):
    def losses(loss_lambda):
        torch.manual_seed(0)
        fresh = DenseCL(depth=18, queue_length=32, loss_lambda=loss_lambda).train()
        with torch.no_grad():
            return fresh(views, mode="loss")

    half, weighted = losses(0.5), losses(weight)
    single, dense = 2 * half["loss_contra_single"], 2 * half["loss_contra_dense"]
    assert weighted["loss_contra_single"].item() == pytest.approx((1 - weight) * single.item(), rel=1e-5)
    assert weighted["loss_contra_dense"].item() == pytest.approx(weight * dense.item(), rel=1e-5)


def test_some_steps_lower_both_losses(model, views):
    """Same images and same negatives at every step, so that only the weights can lower the loss."""
    queues = {name: getattr(model, name).clone() for name in ("queue", "queue2")}
    optimizer = torch.optim.SGD(model.encoder_q.parameters(), lr=0.05, momentum=0.9)
    history = []
    for _ in range(5):
        for name, start in queues.items():
            getattr(model, name).copy_(start)
        losses = losses_of(model(views[:4], mode="loss"))
        history.append({name: loss.item() for name, loss in losses.items()})
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
    for name in history[0]:
        assert history[-1][name] < 0.9 * history[0][name], history


def test_log_values_describe_the_batch(model, views):
    outputs = model(views, mode="loss")
    for branch in ("single", "dense"):
        accuracy, spread = outputs[f"accuracy_{branch}"], outputs[f"std_{branch}"]
        assert not accuracy.requires_grad
        assert not spread.requires_grad
        assert 0 <= accuracy.item() <= 1
        assert 0 < spread.item() < 1 / 128**0.5
    model.queue.copy_(-model.encode(model.encoder_q, views[:, 0])[1].mean(dim=0, keepdim=True).T.expand(-1, 32))
    assert model(views, mode="loss")["accuracy_single"].item() == 1  # negatives opposite to all images


def test_a_step_keeps_neither_the_queues_nor_the_logits_for_the_backward_pass(model, views):
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x.shape) or x, lambda x: x):
        model(views, mode="loss")
    assert len(kept) > 50
    assert not [shape for shape in kept if 32 in shape and 128 in shape]  # no (128, 32) queue
    assert not [shape for shape in kept if len(shape) == 2 and shape[1] in (32, 33)]  # no (M, 32) logits


@pytest.mark.parametrize("options", [{"channels_last": True}, {"precision": "bf16"}, {"compile": True}])
def test_options_for_speed_leave_the_loss(views, options, monkeypatch):
    # The compiler proper takes half a minute; its front end alone shows that the encoders go through it.
    original, compiled = torch.nn.Module.compile, []
    monkeypatch.setattr(
        torch.nn.Module, "compile", lambda self: compiled.append(self) or original(self, backend="eager")
    )

    def losses(**options):
        torch.manual_seed(0)
        with torch.no_grad():
            model = DenseCL(depth=18, queue_length=32, **options).train()
            return losses_of(model(views, mode="loss"))

    plain, fast = losses(), losses(**options)
    assert len(compiled) == (4 if "compile" in options else 0)
    tolerance = 5e-2 if "precision" in options else 1e-4
    for name, loss in plain.items():
        assert fast[name].dtype == torch.float32
        assert fast[name].item() == pytest.approx(loss.item(), abs=tolerance)


@pytest.mark.parametrize("depth", [18, 50, 101])
def test_backbone_has_the_names_and_features_of_torchvision(depth):
    with torch.device("meta"):
        ours = DenseCL(depth=depth, queue_length=4).backbone.state_dict()
        theirs = getattr(models, f"resnet{depth}")().state_dict()
    assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in theirs.items() if not k.startswith("fc.")}


def test_features_equal_torchvision(model):
    reference = models.resnet18()
    reference.load_state_dict(model.backbone.state_dict(), strict=False)
    images = torch.randn(2, 3, 64, 96)
    model.eval(), reference.eval()
    trunk = torch.nn.Sequential(*list(reference.children())[:-2])
    with torch.no_grad():
        features = model(images)
        assert features.shape == (2, 512, 2, 3)
        torch.testing.assert_close(features, trunk(images))


def test_unknown_settings_are_refused():
    with pytest.raises(ValueError, match=r"depth 34, expected one of \[18, 50, 101\]"):
        DenseCL(depth=34)
    with pytest.raises(ValueError, match="precision 'fp8'"):
        DenseCL(depth=18, precision="fp8")
    with pytest.raises(ValueError, match="mode 'predict'"):
        DenseCL(depth=18, queue_length=4)(torch.zeros(1, 3, 32, 32), mode="predict")
