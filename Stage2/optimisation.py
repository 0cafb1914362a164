"""The optimiser of Stage 2 and its schedule."""

from torch import optim

from Stage2.models.few_shot import FewShotSegmenter

DECAY_EVERY = 1000  # optimiser steps


def build_optimiser(
    model: FewShotSegmenter, learning_rate: float, decay: float, momentum: float = 0.9, weight_decay: float = 5e-4
) -> tuple[optim.SGD, optim.lr_scheduler.StepLR]:
    """SGD over the parameters that the forward pass uses, and its schedule, to be stepped once per optimiser step.

    The published optimiser also holds the encoder's unused parameters; they have no gradient and never change.

    Args:
        model: the segmenter.
        learning_rate: at the start.
        decay: factor on the learning rate every 1000 steps.
        momentum: of SGD.
        weight_decay: of SGD.
    """
    optimiser = optim.SGD(
        model.encoder.trained_parameters(), lr=learning_rate, momentum=momentum, weight_decay=weight_decay
    )
    return optimiser, optim.lr_scheduler.StepLR(optimiser, step_size=DECAY_EVERY, gamma=decay)
