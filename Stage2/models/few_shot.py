"""The few-shot segmenter: an encoder, prototypes of a support, a query segmented by them, the alignment loss."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from Stage2.models.alp import (
    DegenerateEpisodeError,
    background_prototypes,
    foreground_prototypes,
    global_prototypes,
    similarity_score,
)
from Stage2.models.encoders import Encoder, autocast

IGNORE = 255
PROTOTYPE_KINDS = ("grid_proto", "global_proto")
QUERY_CLASS_WEIGHTS = (0.05, 1.0)  # background, foreground


class Prototypes(NamedTuple):
    """What a support says about a class: (P_b, C) and (P_f, C)."""

    background: Tensor
    foreground: Tensor


class FewShotSegmenter(nn.Module):
    """Segments one class in query images from a support with that class annotated.

    Args:
        encoder_name: one of `Stage2.models.encoders.ENCODER_NAMES`.
        prototype_kind: "grid_proto" (ALPNet: local and global prototypes) or "global_proto" (PA-Net: one masked
            average for the background, one for the foreground).
        precision: "fp32", "bf16" or "fp16", of the encoder; prototypes and scores are always float32.
    """

    def __init__(self, encoder_name: str = "dlfcn_res101", prototype_kind: str = "grid_proto", precision: str = "fp32"):
        super().__init__()
        if prototype_kind not in PROTOTYPE_KINDS:
            raise ValueError(f"clsname={prototype_kind} is unknown; choose one of {', '.join(PROTOTYPE_KINDS)}.")
        self.encoder = Encoder(encoder_name)
        self.prototype_kind = prototype_kind
        self.precision = precision

    def encode(self, images: Tensor) -> Tensor:
        """Features of images, (B, 3, H, W) float32 -> (B, 256, H/8, W/8) float32."""
        with autocast(images.device, self.precision):
            features = self.encoder(images)
        return features.float().contiguous()

    def prototypes(self, features: Tensor, foreground: Tensor, background: Tensor, window: int) -> Prototypes:
        """Prototypes of a support.

        Args:
            features: support features, (S, C, h, w).
            foreground: masks of the class, (S, H, W) float, any resolution.
            background: masks of everything else, (S, H, W) float.
            window: side of a pooling cell in feature pixels.

        Raises:
            DegenerateEpisodeError: the support has no background cell (never with "global_proto").
        """
        size = features.shape[-2:]
        foreground = functional.interpolate(foreground[:, None], size, mode="bilinear")
        background = functional.interpolate(background[:, None], size, mode="bilinear")
        if self.prototype_kind == "global_proto":
            averages = (
                global_prototypes(features, mask).mean(dim=0, keepdim=True) for mask in (background, foreground)
            )
            return Prototypes(*averages)
        return Prototypes(
            background_prototypes(features, background, window), foreground_prototypes(features, foreground, window)
        )

    def scores(self, query_features: Tensor, prototypes: Prototypes) -> Tensor:
        """Logits of background and foreground on the feature grid, (B, C, h, w) -> (B, 2, h, w)."""
        return torch.cat([similarity_score(query_features, of_class)[0] for of_class in prototypes], dim=1)

    def segment(self, query_images: Tensor, prototypes: Prototypes) -> Tensor:
        """Logits of background and foreground, (B, 3, H, W) -> (B, 2, H, W)."""
        return upsample(self.scores(self.encode(query_images), prototypes), query_images.shape[-2:])

    def training_losses(
        self,
        support_image: Tensor,
        support_foreground: Tensor,
        query_image: Tensor,
        query_label: Tensor,
        window: int,
        *,
        align: bool = True,
        weigh_classes: bool = True,
    ) -> dict[str, Tensor]:
        """Losses of one episode.

        Args:
            support_image: (S, 3, H, W).
            support_foreground: (S, H, W) float, 1 on the class.
            query_image: (1, 3, H, W).
            query_label: (1, H, W) int64: 0, 1, or 255 to ignore.
            window: side of a pooling cell in feature pixels.
            align: add the alignment loss.
            weigh_classes: weigh background and foreground of the query by `QUERY_CLASS_WEIGHTS`.

        Returns:
            "query_loss", "align_loss" (0 without `align`) as scalars, and "logits" (1, 2, H, W) of the query.

        Raises:
            DegenerateEpisodeError: the support, or the predicted support of the alignment loss, has no background.
        """
        features = self.encode(torch.cat([support_image, query_image]))  # one batch: shared batch-norm statistics
        return self._losses_of_features(
            features, support_foreground, query_label, window, align=align, weigh_classes=weigh_classes
        )

    def batch_losses(
        self, episodes: Sequence[Mapping[str, Tensor]], window: int, *, align: bool = True, weigh_classes: bool = True
    ) -> list[dict[str, Tensor]]:
        """Losses of several episodes whose images pass the encoder as one batch; more than was published.

        Args:
            episodes: tensors of every episode, named and shaped as the arguments of `training_losses`.
            window, align, weigh_classes: as in `training_losses`.

        Returns:
            the answer of `training_losses` for every episode that is not degenerate, at least one.

        Raises:
            DegenerateEpisodeError: all of them are.
        """
        images = [image for episode in episodes for image in (episode["support_image"], episode["query_image"])]
        sizes = [len(episode["support_image"]) + len(episode["query_image"]) for episode in episodes]
        losses, degenerate = [], None
        for episode, features in zip(episodes, self.encode(torch.cat(images)).split(sizes), strict=True):
            labels = (episode["support_foreground"], episode["query_label"])
            try:
                losses.append(
                    self._losses_of_features(features, *labels, window, align=align, weigh_classes=weigh_classes)
                )
            except DegenerateEpisodeError as error:
                degenerate = error
        if not losses:
            raise degenerate
        return losses

    def _losses_of_features(
        self,
        features: Tensor,
        support_foreground: Tensor,
        query_label: Tensor,
        window: int,
        *,
        align: bool,
        weigh_classes: bool,
    ) -> dict[str, Tensor]:
        """`training_losses` from the features of supports, then query: (S + 1, C, h, w)."""
        n_shots = len(support_foreground)
        support_features, query_features = features[:n_shots], features[n_shots:]
        support_background = 1 - support_foreground

        prototypes = self.prototypes(support_features, support_foreground, support_background, window)
        scores = self.scores(query_features, prototypes)
        logits = upsample(scores, query_label.shape[-2:])
        weight = logits.new_tensor(QUERY_CLASS_WEIGHTS) if weigh_classes else None
        query_loss = functional.cross_entropy(logits, query_label, weight=weight, ignore_index=IGNORE)
        align_loss = query_loss.new_zeros(())
        if align:
            align_loss = self.alignment_loss(scores, query_features, support_features, support_foreground, window)
        return {"query_loss": query_loss, "align_loss": align_loss, "logits": logits}

    def alignment_loss(
        self, scores: Tensor, query_features: Tensor, support_features: Tensor, support_foreground: Tensor, window: int
    ) -> Tensor:
        """Loss of the reverse episode: the predicted query is the support of every support image, shot by shot.

        Args:
            scores: logits of the query on the feature grid, (1, 2, h, w).
            query_features: (1, C, h, w).
            support_features: (S, C, h, w).
            support_foreground: (S, H, W) float.
            window: side of a pooling cell in feature pixels.

        Source: PANet (Wang et al., ICCV 2019), section 3.4.
        """
        predicted = scores.argmax(dim=1).float()  # 1, h, w; an empty prediction still counts: its prototype scores 0
        prototypes = self.prototypes(query_features, predicted, 1 - predicted, window)
        logits = upsample(self.scores(support_features, prototypes), support_foreground.shape[-2:])
        # The published label is 1 on the foreground, 0 on the background and ignored where a pixel is neither.
        label = torch.full_like(support_foreground, IGNORE, dtype=torch.int64)
        label[support_foreground == 1] = 1
        label[support_foreground == 0] = 0
        return functional.cross_entropy(logits, label, ignore_index=IGNORE)


def upsample(scores: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear interpolation of (B, K, h, w) to (B, K, *size), corners not aligned."""
    return functional.interpolate(scores, size, mode="bilinear")
