"""A segmentation network with its optimiser and the moving average of its weights: one step of learning from masks."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn, optim
from torch.nn import functional

from Stage2.optimisation.average import copy_of, move_average

IGNORED = 255  # label of a pixel of which nothing is known
WARM_UP = 20  # steps in which the learning rate rises
NEVER = -1e4  # a score that leaves nothing of a class, and still has a gradient of 0
AVERAGED = 8  # steps: the average is over about the last it/(it + 8) of the first steps, then by `decay`


class Learner:
    """A network that learns from slices with labels.

    Args:
        network: images (B, 3, H, W) -> scores (B, classes, H, W), on its device.
        rate: learning rate after the first steps.
        weight_decay: of AdamW.
        decay: of the moving average of the weights, in the long run.
        frozen_norms: batch norms keep the statistics that they have.
    """

    def __init__(
        self, network: nn.Module, rate: float, weight_decay: float = 1e-2, decay: float = 0.99,
        frozen_norms: bool = False,
    ):  # fmt: skip
        self.network, self.rate, self.decay, self.frozen_norms = network, rate, decay, frozen_norms
        self.optimiser = optim.AdamW(network.parameters(), lr=rate, weight_decay=weight_decay)
        self.average = copy_of(network)
        self.steps = 0

    def step(self, images: Tensor, labels: Tensor, progress: float, known: Tensor | None = None) -> float:
        """One step of the optimiser; returns the loss.

        Args:
            images: (B, 3, H, W) float32.
            labels: (B, H, W) int64, `IGNORED` where nothing is known.
            progress: share of the learning that is done, 0 to 1: the rate falls from its height to 0 by a cosine.
            known: (B, organs) bool, the organs that are drawn in a slice wherever they are; None: all in all.
        """
        self.network.train()
        if self.frozen_norms:
            for module in self.network.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        height = min(1.0, (self.steps + 1) / WARM_UP)
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate * height * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
        scores = self.network(images.contiguous(memory_format=torch.channels_last))
        loss = segmentation_loss(scores if known is None else merge_unknown(scores, known), labels)
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        self.steps += 1
        move_average(self.average, self.network.state_dict(), min(self.decay, self.steps / (self.steps + AVERAGED)))
        return float(loss.detach())

    def state(self) -> dict[str, Any]:
        """Everything that going on needs, of tensors and plain values."""
        return {
            "network": self.network.state_dict(),
            "average": self.average,
            "optimiser": self.optimiser.state_dict(),
            "steps": self.steps,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a state of the same network."""
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
        for key, value in state["average"].items():
            self.average[key].copy_(value)
        self.steps = state["steps"]


def merge_unknown(scores: Tensor, known: Tensor) -> Tensor:
    """Scores in which organs that a slice leaves undrawn count as its background, (B, classes, H, W).

    Args:
        scores: (B, classes, H, W), background first.
        known: (B, organs) bool.

    Source of the idea: marginal loss (Shi et al., Medical Image Analysis 2021).
    """
    if bool(known.all()):
        return scores
    drawn = torch.cat([torch.zeros_like(known[:, :1]), known], dim=1)[:, :, None, None]
    background = scores.masked_fill(drawn, -torch.inf).logsumexp(dim=1, keepdim=True)
    organs = scores[:, 1:].masked_fill(~known[:, :, None, None], NEVER)
    return torch.cat([background, organs], dim=1)


def segmentation_loss(scores: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy plus 1 - Dice, the mean over the classes that the batch shows.

    Args:
        scores: (B, classes, H, W).
        labels: (B, H, W) int64, `IGNORED` where nothing is known: such pixels count in neither term.

    Source: nnU-Net (Isensee et al., Nature Methods 2021) for the sum of both.
    """
    known = labels != IGNORED
    cross_entropy = functional.cross_entropy(scores, labels, ignore_index=IGNORED, reduction="sum")
    drawn = functional.one_hot(labels.where(known, 0), scores.shape[1]).permute(0, 3, 1, 2) * known[:, None]
    found = scores.softmax(dim=1) * known[:, None]
    dims: Sequence[int] = (0, 2, 3)
    area = drawn.sum(dims)
    dice = (2 * (found * drawn).sum(dims) + 1) / (found.sum(dims) + area + 1)
    shown = area > 0
    overlap = 1 - dice[shown].mean() if bool(shown.any()) else scores.sum() * 0
    return cross_entropy / known.sum().clamp(min=1) + overlap
