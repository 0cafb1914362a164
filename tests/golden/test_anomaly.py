"""ADNet's head on a ResNet-101: probabilities, losses, and gradients of one episode, as published."""

import numpy as np
import pytest
import torch

from golden.weights import fill_weights, load_golden, sampled, stored
from Stage2.models.few_shot import FewShotSegmenter

CASES = stored(["main", "tiny"], "s2h_adnet_{}.npz")
THRESHOLDS = {"t10": -10.0, "t16": -16.0}


@pytest.fixture(scope="module")
def model():
    return FewShotSegmenter("dlfcn_res101", "anomaly")


@pytest.fixture(params=[(case, key) for case in CASES for key in THRESHOLDS], ids="-".join)
def recorded(request, model):
    """The recorded numbers of a threshold, with the model filled and given it, and the episode."""
    case, key = request.param
    golden = load_golden(f"s2h_adnet_{case}.npz")
    inputs = load_golden(f"s2b_cond_{case}.npz")
    weights = fill_weights(model.state_dict(), bn3_weight=0.1)
    model.load_state_dict(weights | {"t": torch.full_like(weights["t"], THRESHOLDS[key])})
    model.zero_grad(set_to_none=True)
    label = np.where(inputs["query_label"] == 255, 0, inputs["query_label"])
    episode = {
        "support_image": torch.from_numpy(inputs["support_image"]).float()[None],
        "support_foreground": torch.from_numpy(inputs["support_fg"]).float()[None],
        "query_image": torch.from_numpy(inputs["query_image"]).float()[None],
        "query_label": torch.from_numpy(label).long()[None],
    }
    own = {name.removeprefix(f"{key}/"): golden[name] for name in golden if name.startswith(f"{key}/")}
    return own, episode


def assert_probability(logits: torch.Tensor, golden: np.ndarray) -> None:
    found = logits.detach().softmax(dim=1)[0, 1].numpy()
    np.testing.assert_allclose(sampled(found, golden), golden, atol=2e-4, rtol=0)


def norm_of_gradients(module: torch.nn.Module) -> float:
    """Norm of all gradients as one float32 vector, as recorded: over 15 million numbers its sum loses 0.2 %."""
    return torch.cat([one.grad.flatten() for one in module.parameters()]).norm().item()


def test_evaluation(recorded, model):
    golden, episode = recorded
    model.eval()
    with torch.no_grad():
        foreground = episode["support_foreground"]
        prototypes = model.prototypes(model.encode(episode["support_image"]), foreground, 1 - foreground, window=2)
        assert_probability(model.segment(episode["query_image"], prototypes), golden["eval_probability"])


def test_losses_and_gradients(recorded, model):
    golden, episode = recorded
    found = model.train().training_losses(**episode, window=4)
    assert_probability(found["logits"], golden["train_probability"])
    for name in ("query_loss", "align_loss", "threshold_loss"):
        assert found[name].item() == pytest.approx(float(golden[name]), abs=1e-4), name
    sum(found[name] for name in found if name.endswith("_loss")).backward()
    encoder = model.encoder
    gradients = {
        "grad_t": model.head.t.grad.item(),
        "gradnorm_localconv": norm_of_gradients(encoder.localconv),
        "gradnorm_layer4": norm_of_gradients(encoder.backbone.layer4),
    }
    for name, value in gradients.items():
        assert value == pytest.approx(float(golden[name]), rel=1e-3), name
