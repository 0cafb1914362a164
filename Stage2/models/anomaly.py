"""ADNet's head: one prototype of the foreground, and a threshold on how far a query cell may be from it.

What is not like the foreground is background, so that nothing has to be said of the background, which has no one look.
Source: ADNet (Hansen et al., Medical Image Analysis 2022).
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from Stage2.models.alp import MASK_SUM_FLOOR, WeightedPrototypes, similarity_score
from Stage2.models.encoders import FEATURE_CHANNELS
from Stage2.models.heads import Head
from Stage2.models.portable import PortableHead

STARTING_THRESHOLD = -10.0
STEEPNESS = 0.5  # of the sigmoid that makes a probability of a score
THRESHOLD_DIVISOR = 20.0  # of T in the loss, which keeps it low: a lower one takes less for foreground
SMALLEST = torch.finfo(torch.float32).eps  # probabilities are clamped here before their logarithm


class ForegroundPrototype(NamedTuple):
    """What a support says about a class: the average of its foreground, (1, C)."""

    foreground: Tensor | WeightedPrototypes


def cell_shares(mask: Tensor, grid: tuple[int, int]) -> Tensor:
    """How many pixels of a mask every cell of a grid stands for, when the grid is upsampled bilinearly to the mask.

    It is the transpose of that upsampling. The sum of upsampled features over the mask is the sum of the features
    times these shares, without features of every pixel.

    Args:
        mask: (S, H, W) float.
        grid: (h, w).

    Returns:
        (S, h, w), each mask's sum the same as before.
    """
    rows, columns = (
        functional.interpolate(torch.eye(cells, dtype=mask.dtype, device=mask.device)[None], pixels, mode="linear")[0]
        for cells, pixels in zip(grid, mask.shape[-2:], strict=True)
    )  # h, H and w, W: the part of every cell in every pixel
    return rows @ mask @ columns.T


def upsampled_average(features: Tensor, mask: Tensor) -> Tensor:
    """Masked average of features that are upsampled bilinearly to the size of the mask, over all shots.

    Args:
        features: (S, C, h, w).
        mask: (S, H, W) float.

    Returns:
        (1, C), the mean of the averages of every shot; an empty mask averages to 0.
    """
    shares = cell_shares(mask, features.shape[-2:])[:, None]  # S, 1, h, w
    averages = (features * shares).sum(dim=(2, 3)) / (mask.sum(dim=(1, 2))[:, None] + MASK_SUM_FLOOR)
    return averages.mean(dim=0, keepdim=True)


def class_probabilities(anomaly: Tensor, threshold: Tensor) -> Tensor:
    """Probability of background and foreground from anomaly scores S and thresholds T.

    The foreground's is 1 - sigmoid(0.5 (S - T)). Both are computed as sigmoids, so that small ones keep their digits.

    Args:
        anomaly: S = -20 cos(query, prototype), (B, 1, h, w).
        threshold: T, (B,).

    Returns:
        (B, 2, h, w).
    """
    above = STEEPNESS * (anomaly - threshold[:, None, None, None])
    return torch.cat([above.sigmoid(), (-above).sigmoid()], dim=1)


def log_probabilities(probabilities: Tensor, size: tuple[int, int]) -> Tensor:
    """Logarithms of probabilities upsampled bilinearly with aligned corners, (B, 2, h, w) -> (B, 2, *size)."""
    upsampled = functional.interpolate(probabilities, size, mode="bilinear", align_corners=True)
    return upsampled.clamp(SMALLEST, 1 - SMALLEST).log()


class ThresholdHead(Head):
    """What heads with one foreground prototype and a threshold share; a subclass says where the threshold comes from.

    Prototypes of the query at inference are one at most, the mean of the confident cells of the foreground; the score
    of both is their softmax-weighted similarity. Confident background is not used.
    """

    class_weights = (0.1, 1.0)

    def threshold(self, query_features: Tensor) -> Tensor:
        """Threshold T of every query, (B, C, h, w) -> (B,)."""
        raise NotImplementedError

    def prototypes(
        self, features: Tensor, foreground: Tensor, background: Tensor, window: int
    ) -> ForegroundPrototype:  # the background and the window say nothing here
        return ForegroundPrototype(upsampled_average(features, foreground))

    def scores(self, query_features: Tensor, prototypes: ForegroundPrototype) -> Tensor:
        return self.probabilities(query_features, prototypes, self.threshold(query_features))

    def probabilities(self, features: Tensor, prototypes: ForegroundPrototype, threshold: Tensor) -> Tensor:
        """Probability of background and foreground on the feature grid, (B, C, h, w) and (B,) -> (B, 2, h, w)."""
        return class_probabilities(-similarity_score(features, prototypes.foreground)[0], threshold)

    def upsample(self, scores: Tensor, size: tuple[int, int]) -> Tensor:
        return log_probabilities(scores, size)

    def losses(
        self, support_features: Tensor, support_foreground: Tensor, query_features: Tensor, *others: Any, **options: Any
    ) -> dict[str, Tensor]:
        losses = super().losses(support_features, support_foreground, query_features, *others, **options)
        return losses | {"threshold_loss": self.threshold(query_features).mean() / THRESHOLD_DIVISOR}

    def alignment_loss(
        self, scores: Tensor, query_features: Tensor, support_features: Tensor, support_foreground: Tensor, window: int
    ) -> Tensor:
        """As `Head.alignment_loss`, with the query's threshold; 0 where the predicted query is empty."""
        predicted = scores.argmax(dim=1).float()  # 1, h, w
        if not predicted.any():
            return scores.new_zeros(())
        prototypes = self.prototypes(query_features, predicted, 1 - predicted, window)
        threshold = self.threshold(query_features).expand(len(support_features))
        return self.support_loss(self.probabilities(support_features, prototypes, threshold), support_foreground)

    def portable(self, window: int) -> nn.Module | None:
        return PortableAnomaly(self) if type(self) in (AnomalyHead, AnomalyQueryHead) else None  # not a subclass's


class AnomalyHead(ThresholdHead):
    """ADNet: the threshold is one learned number."""

    key_prefix = ""

    def __init__(self):
        super().__init__()
        self.t = nn.Parameter(torch.tensor(STARTING_THRESHOLD))

    def threshold(self, query_features: Tensor) -> Tensor:
        return self.t.expand(query_features.shape[0])  # not len(), which ONNX would take for a constant


class AnomalyQueryHead(ThresholdHead):
    """ADNet with a threshold that every query tells itself, by a linear layer on the mean of its features.

    The features are those behind the encoder's 1x1 convolution, which is linear: their mean is a linear map of the mean
    of the backbone's last features. The layer starts at ADNet's threshold for every query.
    """

    key_prefix = "threshold."

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1, FEATURE_CHANNELS))
        self.bias = nn.Parameter(torch.full((1,), STARTING_THRESHOLD))

    def threshold(self, query_features: Tensor) -> Tensor:
        return functional.linear(query_features.mean(dim=(2, 3)), self.weight, self.bias)[:, 0]


class PortableAnomaly(PortableHead):
    """Either head as a graph, with the weights of its threshold."""

    def __init__(self, head: ThresholdHead):
        super().__init__()
        self.head = head

    def forward(self, support_features: Tensor, support_mask: Tensor, query_features: Tensor) -> Tensor:
        prototype = ForegroundPrototype(upsampled_average(support_features, support_mask))
        return log_probabilities(self.head.scores(query_features, prototype), support_mask.shape[-2:])
