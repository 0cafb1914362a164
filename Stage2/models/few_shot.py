"""The few-shot segmenter: an encoder, and a head that segments a query by what a support says."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from Stage2.models.alp import DegenerateEpisodeError
from Stage2.models.encoders import Encoder, autocast
from Stage2.models.registry import HEADS, build


class FewShotSegmenter(nn.Module):
    """Segments one class in query images from a support with that class annotated.

    Args:
        encoder_name: one of `ENCODERS`.
        head_name: one of `HEADS`: "grid_proto" (ALPNet: local and global prototypes), "global_proto" (PA-Net: one
            masked average for the background, one for the foreground).
        precision: "fp32", "bf16" or "fp16", of the encoder; prototypes and scores are always float32.
    """

    def __init__(self, encoder_name: str = "dlfcn_res101", head_name: str = "grid_proto", precision: str = "fp32"):
        super().__init__()
        self.head_name = head_name
        self.precision = precision
        self.encoder = Encoder(encoder_name)
        self.head = build(HEADS, head_name, "clsname")
        self.register_state_dict_post_hook(_publish_keys)
        self.register_load_state_dict_pre_hook(_take_published_keys)

    def trained_parameters(self) -> list[nn.Parameter]:
        """The parameters of encoder and head that the forward pass uses."""
        return [*self.encoder.trained_parameters(), *self.head.parameters()]

    def encode(self, images: Tensor) -> Tensor:
        """Features of images, (B, 3, H, W) float32 -> (B, 256, H/8, W/8) float32."""
        with autocast(images.device, self.precision):
            features = self.encoder(images)
        return features.float().contiguous()

    def prototypes(self, features: Tensor, foreground: Tensor, background: Tensor, window: int) -> Any:
        """What a support says of a class, see `Head.prototypes`."""
        return self.head.prototypes(features, foreground, background, window)

    def scores(self, query_features: Tensor, prototypes: Any) -> Tensor:
        """Scores of background and foreground on the feature grid, (B, C, h, w) -> (B, 2, h, w)."""
        return self.head.scores(query_features, prototypes)

    def logits(self, query_features: Tensor, prototypes: Any, size: tuple[int, int]) -> Tensor:
        """Logits of background and foreground in every pixel, (B, C, h, w) -> (B, 2, *size)."""
        return self.head.upsample(self.scores(query_features, prototypes), size)

    def segment(self, query_images: Tensor, prototypes: Any) -> Tensor:
        """Logits of background and foreground, (B, 3, H, W) -> (B, 2, H, W)."""
        return self.logits(self.encode(query_images), prototypes, query_images.shape[-2:])

    def training_losses(
        self, support_image: Tensor, support_foreground: Tensor, query_image: Tensor, query_label: Tensor, window: int,
        *, align: bool = True, weigh_classes: bool = True,
    ) -> dict[str, Tensor]:  # fmt: skip
        """Losses of one episode.

        Args:
            support_image: (S, 3, H, W).
            support_foreground: (S, H, W) float, 1 on the class.
            query_image: (1, 3, H, W).
            query_label: (1, H, W) int64: 0, 1, or 255 to ignore.
            window: side of a pooling cell in feature pixels.
            align: add the alignment loss.
            weigh_classes: weigh background and foreground of the query by the head's `class_weights`.

        Returns:
            "query_loss", "align_loss" (0 without `align`) and what else the head names "..._loss", scalars whose sum
            is minimised; and "logits" (1, 2, H, W) of the query.

        Raises:
            DegenerateEpisodeError: the support, or the predicted support of the alignment loss, has no background.
        """
        episode = {"support_image": support_image, "support_foreground": support_foreground}
        episode |= {"query_image": query_image, "query_label": query_label}
        return self.batch_losses([episode], window, align=align, weigh_classes=weigh_classes)[0]

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
        images = [torch.cat([episode["support_image"], episode["query_image"]]) for episode in episodes]
        # One batch: shared batch-norm statistics.
        features = self.encode(torch.cat(images)).split([len(image) for image in images])
        losses, degenerate = [], None
        for episode, own in zip(episodes, features, strict=True):
            foreground, label = episode["support_foreground"], episode["query_label"]
            supports, query = own.split([len(foreground), len(own) - len(foreground)])
            try:
                own_losses = self.head.losses(
                    supports, foreground, query, label, window, align=align, weigh_classes=weigh_classes
                )
                losses.append(own_losses)
            except DegenerateEpisodeError as error:
                degenerate = error
        if not losses:
            raise degenerate
        return losses

    def alignment_loss(self, *arguments: Any, **named: Any) -> Tensor:
        """Loss of the reverse episode, see `Head.alignment_loss`."""
        return self.head.alignment_loss(*arguments, **named)


def _publish_keys(model: FewShotSegmenter, state: dict[str, Tensor], prefix: str, _: dict) -> None:
    """Name the head's parameters in a state dict as the head says."""
    for key in list(model.head.state_dict()):
        state[f"{prefix}{model.head.key_prefix}{key}"] = state.pop(f"{prefix}head.{key}")


def _take_published_keys(model: FewShotSegmenter, state: dict[str, Tensor], prefix: str, *_: Any) -> None:
    """The reverse, before a state dict is loaded."""
    for key in model.head.state_dict():
        if f"{prefix}{model.head.key_prefix}{key}" in state:
            state[f"{prefix}head.{key}"] = state.pop(f"{prefix}{model.head.key_prefix}{key}")
