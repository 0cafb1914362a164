"""Moving average of a network's weights."""

from collections.abc import Mapping

from torch import Tensor, nn


def copy_of(network: nn.Module) -> dict[str, Tensor]:
    """The state dict of a network, in tensors of its own."""
    return {key: value.detach().clone() for key, value in network.state_dict().items()}


def move_average(average: Mapping[str, Tensor], weights: Mapping[str, Tensor], decay: float) -> None:
    """Move an average towards weights and batch-norm statistics, in place; counters are copied.

    Args:
        average, weights: state dicts of one network.
        decay: share of the average that stays.
    """
    for key, value in weights.items():
        if value.is_floating_point():
            average[key].lerp_(value, 1 - decay)
        else:
            average[key].copy_(value)
