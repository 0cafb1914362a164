"""DenseCL, top to bottom: two encoders, two queues, a global and a dense contrastive loss."""

import copy
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor, nn

from Stage1.models.backbone import ResNetC5
from Stage1.models.contrast import (
    check_queue_length,
    enqueue,
    feature_spread,
    gather_cells,
    info_nce,
    match_dense_keys,
)
from Stage1.models.neck import DenseCLNeck
from Stage1.models.pretext import PretextTask
from Stage1.models.shuffle import gather_ranks, shuffle_ranks, unshuffle_ranks


@MODELS.register_module()
class DenseCL(PretextTask):
    """Dense contrastive learning of a ResNet backbone from two views of every image.

    Args:
        depth: ResNet depth, 18, 50 or 101.
        feature_channels: D, channels of both projections.
        queue_length: K, keys kept in each of the two queues.
        momentum: share of its own weights that the key encoder keeps at every update.
        temperature: of both InfoNCE losses.
        loss_lambda: weight of the dense loss; the global loss has 1 - loss_lambda. With 0 this is MoCo v2: the dense
            branch is left out of the step, and its weights and its queue stay as they are.
        common: as of :class:`Stage1.models.pretext.PretextTask`.

    State-dict keys are those of published DenseCL checkpoints: ``encoder_q.0`` (also named ``backbone``),
    ``encoder_q.1`` (neck), ``encoder_k``, ``queue`` (global keys), ``queue2`` (pooled dense keys), their pointers.

    Source: DenseCL (Wang et al., CVPR 2021); momentum encoder and queue from MoCo (He et al., CVPR 2020).
    """

    def __init__(
        self,
        depth: int = 101,
        feature_channels: int = 128,
        queue_length: int = 65536,
        momentum: float = 0.999,
        temperature: float = 0.2,
        loss_lambda: float = 0.5,
        **common,
    ) -> None:
        super().__init__(**common)
        self.momentum, self.temperature, self.loss_lambda = momentum, temperature, loss_lambda

        backbone = ResNetC5(depth)
        self.encoder_q = nn.Sequential(backbone, DenseCLNeck(backbone.out_channels, feature_channels))
        if not loss_lambda:
            self.encoder_q[1].mlp2.requires_grad_(False)
        self.encoder_k = copy.deepcopy(self.encoder_q).requires_grad_(False)
        self.backbone = self.encoder_q[0]
        self.prepare(*self.encoder_q, *self.encoder_k)

        for name in ("queue", "queue2"):
            self.register_buffer(name, F.normalize(torch.randn(feature_channels, queue_length), dim=0))
            self.register_buffer(f"{name}_ptr", torch.zeros(1, dtype=torch.long))

    def loss(self, query_images: Tensor, key_images: Tensor) -> dict[str, Tensor]:
        """One step of DenseCL on two views (N, 3, H, W) of the same N images; S below is the number of grid cells.

        Returns:
            ``loss_contra_single`` and ``loss_contra_dense``, weighted so that their sum is the loss, and for the log
            the contrastive accuracy (``accuracy_single``, ``accuracy_dense``) and the spread of features
            (``std_single``, ``std_dense``; 1 / sqrt(D) is healthy, 0 is collapse) of both branches, or of the global
            one alone where the dense loss has no weight.
        """
        # (N, C, S), (N, D), (N, D, S), and for the keys (N, D)
        features_q, global_q, dense_q, _ = self.encode(self.encoder_q, query_images)
        features_k, global_k, dense_k, pooled_k = self.encode_keys(key_images)

        with torch.autocast(query_images.device.type, enabled=False):  # an outer autocast ends here
            # The losses see the queues as earlier batches left them.
            single, accuracy = info_nce(global_q, global_k, self.queue, self.temperature)
            found = {
                "loss_contra_single": single * (1 - self.loss_lambda),
                "loss_contra_dense": single.new_zeros(()),
                "accuracy_single": accuracy,
                "std_single": feature_spread(global_q),
            }
            if self.loss_lambda:
                cells = match_dense_keys(F.normalize(features_q.detach(), dim=1), F.normalize(features_k, dim=1))
                matched_k = gather_cells(dense_k, cells)  # N, D, S
                dense_rows = cells_as_rows(dense_q)  # N * S, D
                dense, accuracy = info_nce(dense_rows, cells_as_rows(matched_k), self.queue2, self.temperature)
                found |= {
                    "loss_contra_dense": dense * self.loss_lambda,
                    "accuracy_dense": accuracy,
                    "std_dense": feature_spread(dense_rows),
                }

        enqueue(self.queue, self.queue_ptr, gather_ranks(global_k))
        if self.loss_lambda:
            enqueue(self.queue2, self.queue2_ptr, gather_ranks(pooled_k))
        return found

    @torch.no_grad()
    def encode_keys(self, images: Tensor) -> tuple[Tensor, ...]:
        """Moves the key encoder on, then encodes key images (N, 3, H, W) with it; returns what encode returns."""
        self.update_key_encoder()
        shuffled, order = shuffle_ranks(images)
        outputs = self.encode(self.encoder_k, shuffled)
        return tuple(unshuffle_ranks(x, order) for x in outputs)

    def encode(self, encoder: nn.Sequential, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Backbone features and projections of images (N, 3, H, W), in float32.

        Returns:
            Features (N, C, S); L2-normalised over D: global projection (N, D), dense projection (N, D, S), and
            the mean over cells (N, D) of the dense projection, taken before that was normalised.
        """
        with self.autocast(images.device):
            features = encoder[0](self.laid_out(images))
            global_projection, dense_projection = encoder[1](features)
        features, global_projection, dense_projection = (
            x.float() for x in (features.flatten(2), global_projection, dense_projection)
        )
        pooled_projection = dense_projection.mean(dim=2)
        projections = (F.normalize(x, dim=1) for x in (global_projection, dense_projection, pooled_projection))
        return features, *projections

    @torch.no_grad()
    def update_key_encoder(self) -> None:
        """Moves every key parameter towards its query parameter: k = momentum * k + (1 - momentum) * q."""
        keys, queries = list(self.encoder_k.parameters()), list(self.encoder_q.parameters())
        torch._foreach_mul_(keys, self.momentum)  # as the optimisers do: a few kernels instead of two for every tensor
        torch._foreach_add_(keys, queries, alpha=1 - self.momentum)

    def backbone_loaded(self) -> None:
        """The key encoder starts as a copy of the query encoder."""
        self.encoder_k[0].load_state_dict(self.backbone.state_dict())

    @classmethod
    def check_settings(cls, model: Mapping[str, Any], view: Mapping[str, Any], batch: int) -> None:
        """Raises a ValueError where the batch does not divide the queues."""
        if "queue_length" in model:
            check_queue_length(model["queue_length"], batch)


def cells_as_rows(grid: Tensor) -> Tensor:
    """(N, D, S) -> (N * S, D)."""
    return grid.transpose(1, 2).flatten(0, 1)
