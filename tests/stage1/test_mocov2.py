"""DenseCL without its dense loss is MoCo v2: a step written out plainly, and lightly's loss with a memory bank."""

import copy

import pytest
import torch
from lightly.loss.ntx_ent_loss import NTXentLoss
from torch.nn import functional as F

from Stage1.models.densecl import DenseCL
from Stage1.runs.config import load_config


@pytest.fixture
def model():
    torch.manual_seed(0)
    return DenseCL(depth=18, queue_length=16, loss_lambda=0.0).train()


def views(images=4):
    return torch.randn(images, 2, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def plain_step(backbone, head, key_backbone, key_head, queue, batch, momentum=0.999, temperature=0.2):
    """MoCo v2 (Chen et al., 2020), section 2: loss of a batch (N, 2, 3, H, W), and its keys (N, D)."""
    with torch.no_grad():
        for key, query in zip(
            [*key_backbone.parameters(), *key_head.parameters()], [*backbone.parameters(), *head.parameters()],
            strict=True,
        ):  # fmt: skip
            key.copy_(momentum * key + (1 - momentum) * query)
        keys = F.normalize(key_head(key_backbone(batch[:, 1]).mean(dim=(2, 3))))
    queries = F.normalize(head(backbone(batch[:, 0]).mean(dim=(2, 3))))
    logits = torch.cat([(queries * keys).sum(dim=1, keepdim=True), queries @ queue], dim=1) / temperature
    return F.cross_entropy(logits, torch.zeros(len(batch), dtype=torch.long)), keys, queries


def test_a_step_is_that_of_moco_v2(model):
    with torch.no_grad():
        for parameter in model.encoder_k.parameters():
            parameter.add_(0.01)
    before = copy.deepcopy(model)
    parts = [copy.deepcopy(part) for part in (model.encoder_q[0], model.encoder_q[1].mlp)]
    key_parts = [copy.deepcopy(part) for part in (model.encoder_k[0], model.encoder_k[1].mlp)]
    loss, keys, queries = plain_step(*parts, *key_parts, model.queue.clone(), views())
    loss.backward()

    outputs = model(views(), mode="loss")
    total = sum(value for name, value in outputs.items() if name.startswith("loss"))
    total.backward()
    torch.testing.assert_close(total, loss)
    assert outputs["loss_contra_dense"].item() == 0
    assert not {"accuracy_dense", "std_dense"} & set(outputs)

    for own, expected in zip((model.encoder_q[0], model.encoder_q[1].mlp), parts, strict=True):
        for (name, parameter), other in zip(own.named_parameters(), expected.parameters(), strict=True):
            torch.testing.assert_close(parameter.grad, other.grad, msg=name)
    for own, expected in zip((model.encoder_k[0], model.encoder_k[1].mlp), key_parts, strict=True):
        for parameter, other in zip(own.parameters(), expected.parameters(), strict=True):
            torch.testing.assert_close(parameter, other)
    torch.testing.assert_close(model.queue[:, :4].T, keys)
    assert torch.equal(model.queue[:, 4:], before.queue[:, 4:]) and model.queue_ptr.item() == 4

    # The dense branch is as it was.
    assert torch.equal(model.queue2, before.queue2) and model.queue2_ptr.item() == 0
    for name, parameter in model.encoder_q[1].mlp2.named_parameters():
        assert parameter.grad is None
        assert torch.equal(parameter, before.encoder_q[1].mlp2.state_dict()[name])

    # lightly's NT-Xent with a memory bank, holding the queue, is InfoNCE.
    theirs = NTXentLoss(temperature=0.2, memory_bank_size=(16, 128))
    theirs.memory_bank.bank = before.queue.T.clone()
    theirs.memory_bank.bank_ptr = torch.zeros(1, dtype=torch.long)
    torch.testing.assert_close(theirs(queries.detach(), keys), loss.detach())


def test_some_steps_lower_the_loss_and_move_nothing_of_the_dense_branch(model):
    dense, queue = copy.deepcopy(model.encoder_q[1].mlp2.state_dict()), model.queue.clone()
    optimiser = torch.optim.SGD(model.encoder_q.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4)
    history = []
    for _ in range(4):
        model.queue.copy_(queue)
        loss = model(views(), mode="loss")["loss_contra_single"]
        history.append(loss.item())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert history[-1] < 0.9 * history[0]
    assert all(torch.equal(value, dense[name]) for name, value in model.encoder_q[1].mlp2.state_dict().items())


def test_recipes_are_densecls_but_for_the_weight_of_the_dense_loss():
    for name in ("roco_50ep", "demo"):
        ours = load_config(f"configs/selfsup/mocov2/mocov2_{name}.py").to_dict()
        densecl = load_config(f"configs/selfsup/densecl/densecl_{name}.py").to_dict()
        assert ours["model"].pop("loss_lambda") == 0.0
        assert densecl["model"].pop("loss_lambda") == 0.5
        for cfg in (ours, densecl):
            cfg.pop("filename", None)
        assert ours == densecl
