"""DenseCL against the published implementation: losses, queues, matches, gradients and weights over two steps."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from golden.weights import GOLDEN, fill_weights, load_golden, stored
from Stage1.models.contrast import match_dense_keys
from Stage1.models.densecl import DenseCL

# Per file: absolute tolerance of the losses at step 1, step 2 and the third forward. A randomly filled train-mode
# ResNet-101 is chaotic unless it is conditioned, so its other files are compared at step 1 only.
LOSS_TOLERANCES = {
    "r18_indep": (1e-4, 1e-4, 2e-3),
    "r18_copyk": (1e-4, 1e-4, 2e-3),
    "r101_cond": (1e-4, 1e-3, 3e-3),
    "r101_indep": (1e-4,),
    "r101_copyk": (1e-4,),
}
COPIED_KEY_ENCODER = {"r18_copyk", "r101_copyk"}


def build(case: str, golden) -> DenseCL:
    with torch.device("meta"):  # no time is spent on a random initialisation
        model = DenseCL(depth=int(case.split("_")[0][1:]), queue_length=golden["queue0"].shape[1])
    weights = fill_weights(model.state_dict(), float(golden["bn3_weight"]))
    weights |= {
        key: weights[key.replace("backbone", "encoder_q.0", 1)] for key in weights if key.startswith("backbone")
    }
    model.load_state_dict(weights, assign=True)
    if case in COPIED_KEY_ENCODER:
        model.encoder_k.load_state_dict(model.encoder_q.state_dict())
    model.queue.copy_(torch.from_numpy(golden["queue0"]))
    model.queue2.copy_(torch.from_numpy(golden["queue2_0"]))
    return model.train()


@pytest.mark.parametrize("case", stored(list(LOSS_TOLERANCES), "s1a_densecl_{}.npz"))
def test_steps_equal_the_published_implementation(case, monkeypatch):
    golden = load_golden(f"s1a_densecl_{case}.npz")
    tolerances = LOSS_TOLERANCES[case]
    model = build(case, golden)
    views = torch.from_numpy(golden["input"]).float()
    optimizer = torch.optim.SGD(model.encoder_q.parameters(), lr=0.03, momentum=0.9, weight_decay=1e-4)
    matches = []
    monkeypatch.setattr(
        "Stage1.models.densecl.match_dense_keys", lambda q, k: matches.append(match_dense_keys(q, k)) or matches[-1]
    )

    for step, tolerance in enumerate(tolerances):
        losses = {name: value for name, value in model(views, mode="loss").items() if name.startswith("loss")}
        for name, loss in losses.items():
            assert loss.item() == pytest.approx(golden[name][step], abs=tolerance), f"{name} at step {step + 1}"
        if step == 2:
            break  # the third forward shows what two steps have changed
        optimizer.zero_grad()
        sum(losses.values()).backward()
        if step == 0:
            assert_gradient_norms(model, golden, relative=2e-2 if golden["bn3_weight"] == 1 else 1e-3)
            np.testing.assert_array_equal(matches[0].numpy(), golden["dense_match_step1"])
        if len(tolerances) > 1:
            optimizer.step()
        if step == 1:
            assert_state_after_two_steps(model, golden)


def assert_gradient_norms(model, golden, relative):
    parameters = dict(model.named_parameters(remove_duplicate=False))
    norms = {key.removeprefix("gradnorm1/"): golden[key] for key in golden if key.startswith("gradnorm1/")}
    assert norms
    for name, expected in norms.items():
        tolerance = relative if name.endswith("conv1.weight") else 1e-3
        assert parameters[name].grad.norm().item() == pytest.approx(expected, rel=tolerance), name


def assert_state_after_two_steps(model, golden):
    state = model.state_dict()
    for name, start in (("queue", "queue0"), ("queue2", "queue2_0")):
        written = golden[name].shape[1]  # the columns behind those that two batches wrote need not be stored again
        expected = np.concatenate([golden[name], golden[start][:, written:]], axis=1)
        np.testing.assert_allclose(state[name], expected, atol=1e-5, rtol=0, err_msg=name)
        np.testing.assert_array_equal(state[f"{name}_ptr"], golden[f"{name}_ptr"])
    for key in golden:
        kind, _, name = key.partition("/")
        if kind == "norm_after2":
            assert state[name].norm().item() == pytest.approx(golden[key], rel=1e-4), name
        if kind == "after2":
            np.testing.assert_allclose(state[name], golden[key], atol=1e-4, rtol=0, err_msg=name)


@pytest.mark.parametrize("case", stored(["r18", "r101"], "s1a_state_dict_{}.json"))
def test_state_dict_has_the_published_keys(case):
    published = json.loads((GOLDEN / f"s1a_state_dict_{case}.json").read_text())["keys"]
    state = DenseCL(depth=int(case[1:]), queue_length=256).state_dict()
    ours = {key: (list(tensor.shape), str(tensor.dtype).removeprefix("torch.")) for key, tensor in state.items()}
    assert ours == {key: (shape, dtype) for key, shape, dtype in published}


def test_features_are_not_collapsed():
    """The comparison means little if all features are equal: the inputs must tell the images apart."""
    golden = load_golden("s1a_densecl_r18_indep.npz")
    model = build("r18_indep", golden)
    with torch.no_grad():
        _, vectors, _, _ = model.encode(model.encoder_q, torch.from_numpy(golden["input"]).float()[:, 0])
    similarity = F.normalize(vectors, dim=1) @ vectors.T
    assert similarity[~torch.eye(len(similarity), dtype=torch.bool)].max() < 0.999
