"""When two checkpoints come from runs that are the same."""

import torch


def assert_same_run(a: dict, b: dict) -> None:
    """Equal weights, queues, optimiser, schedule, place in the run and random states, bit for bit."""
    assert a["state_dict"].keys() == b["state_dict"].keys()
    for key, value in a["state_dict"].items():
        assert torch.equal(value, b["state_dict"][key]), key
    assert a["optimizer"]["state"].keys() == b["optimizer"]["state"].keys()
    for index, state in a["optimizer"]["state"].items():
        other = b["optimizer"]["state"][index]
        assert state and state.keys() == other.keys()
        for name, value in state.items():
            assert torch.equal(torch.as_tensor(value), torch.as_tensor(other[name])), name
    assert a["optimizer"]["param_groups"] == b["optimizer"]["param_groups"]
    assert a["param_schedulers"] == b["param_schedulers"]
    assert a["random_state"].keys() == {"torch", "cuda", "python", "numpy"}
    assert torch.equal(a["random_state"]["torch"], b["random_state"]["torch"])
    assert a["random_state"]["python"] == b["random_state"]["python"]
    assert a["random_state"]["numpy"] == b["random_state"]["numpy"]
    for place in ("epoch", "iter", "seed"):
        assert a["meta"][place] == b["meta"][place]
