"""LARS against a slow plain step, and which parameters of a run it scales."""

import math

import pytest
import torch
from mmengine.optim import build_optim_wrapper

from Stage1.models.simclr import SimCLR
from Stage1.runs.config import load_config
from Stage1.runs.optimisers import lars


def naive_step(values, gradients, velocity, *, lr, momentum, weight_decay):
    """One step of LARS on a parameter, a plain list: new values and new velocity. SimCLR's trust is 0.001."""
    p_norm, g_norm = (math.sqrt(sum(x * x for x in numbers)) for numbers in (values, gradients))
    scaled = gradients
    if weight_decay and p_norm and g_norm:
        rate = 0.001 * p_norm / (g_norm + weight_decay * p_norm)
        scaled = [rate * (g + weight_decay * p) for p, g in zip(values, gradients, strict=True)]
    velocity = [momentum * v + s for v, s in zip(velocity, scaled, strict=True)]
    return [p - lr * v for p, v in zip(values, velocity, strict=True)], velocity


@pytest.mark.parametrize("count", [1, 5])
@pytest.mark.parametrize("weight_decay", [0.0, 1e-6, 0.1])
@pytest.mark.parametrize("start", [0.0, 1.0])
def test_steps_are_those_of_a_loop(count, weight_decay, start):
    generator = torch.Generator().manual_seed(count)
    parameter = torch.nn.Parameter(start * torch.randn(count, generator=generator))
    optimiser = lars([parameter], lr=0.3, momentum=0.9, weight_decay=weight_decay)
    values, velocity = parameter.tolist(), [0.0] * count
    for _ in range(3):
        parameter.grad = torch.randn(count, generator=generator)
        values, velocity = naive_step(
            values, parameter.grad.tolist(), velocity, lr=0.3, momentum=0.9, weight_decay=weight_decay
        )
        optimiser.step()
        torch.testing.assert_close(parameter.data, torch.tensor(values), rtol=1e-4, atol=1e-7)


def decays(config, model):
    cfg = load_config(config)
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    by_id = {id(one): group["weight_decay"] for group in wrapper.optimizer.param_groups for one in group["params"]}
    return {name: by_id[id(one)] for name, one in model.named_parameters() if id(one) in by_id}


def test_biases_and_batch_norms_of_simclr_are_neither_decayed_nor_scaled():
    found = decays("configs/selfsup/simclr/simclr_roco_50ep.py", model := SimCLR(depth=18))
    for name, one in model.named_parameters():
        assert found[name] == (1e-6 if one.ndim > 1 else 0.0), name


@pytest.mark.parametrize("task", ["simmim", "mae"])
def test_what_masked_tasks_decay(task):
    """Matrices alone: no bias, norm, token, position embedding or table of relative position biases."""
    from Stage1.models.mae import MAE
    from Stage1.models.simmim import SimMIM

    small = {"width": 16, "depth": 1, "heads": 2, "decoder_width": 8, "decoder_depth": 1, "decoder_heads": 2}
    model = MAE(image_size=32, **small) if task == "mae" else SimMIM(8, (1, 1, 1, 1), (1, 1, 1, 1), 2)
    found = decays(f"configs/selfsup/{task}/{task}_roco_50ep.py", model)
    spared = ("bias", "_token", "bias_table", "pos_embedding")
    for name, one in model.named_parameters():
        if one.requires_grad:
            own = 0.0 if name.endswith(spared) or one.ndim == 1 else 0.05
            assert found[name] == own, name
