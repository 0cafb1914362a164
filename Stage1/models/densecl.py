"""DenseCL, top to bottom: two encoders, two queues, a global and a dense contrastive loss."""

import copy

import torch
import torch.nn.functional as F
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from torch import Tensor, nn

from Stage1.models.backbone import ResNetC5
from Stage1.models.contrast import enqueue, feature_spread, gather_cells, info_nce, match_dense_keys
from Stage1.models.neck import DenseCLNeck
from Stage1.models.shuffle import gather_ranks, shuffle_ranks, unshuffle_ranks

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@MODELS.register_module()
class DenseCL(BaseModel):
    """Dense contrastive learning of a ResNet backbone from two views of every image.

    Args:
        depth: ResNet depth, 18, 50 or 101.
        feature_channels: D, channels of both projections.
        queue_length: K, keys kept in each of the two queues.
        momentum: share of its own weights that the key encoder keeps at every update.
        temperature: of both InfoNCE losses.
        loss_lambda: weight of the dense loss; the global loss has 1 - loss_lambda.
        precision: "fp32"; "bf16" to run the encoders under autocast on CPU or GPU, "fp16" on GPU (with a scaled loss,
            which is the optimiser's part); matching and losses stay float32.
        channels_last: keep images and convolution weights in the channels-last memory layout.
        compile: have torch.compile build the encoders; the first step then takes minutes.
        data_preprocessor, init_cfg: as in :class:`mmengine.model.BaseModel`.

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
        precision: str = "fp32",
        channels_last: bool = False,
        compile: bool = False,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(data_preprocessor, init_cfg)
        if precision not in PRECISIONS:
            raise ValueError(f"found precision {precision!r}, expected one of {sorted(PRECISIONS)}; set precision=fp32")
        self.momentum, self.temperature, self.loss_lambda = momentum, temperature, loss_lambda
        self.precision, self.channels_last = precision, channels_last

        backbone = ResNetC5(depth)
        self.encoder_q = nn.Sequential(backbone, DenseCLNeck(backbone.out_channels, feature_channels))
        self.encoder_k = copy.deepcopy(self.encoder_q).requires_grad_(False)
        self.backbone = self.encoder_q[0]
        if channels_last:
            self.to(memory_format=torch.channels_last)
        if compile:
            for part in (*self.encoder_q, *self.encoder_k):
                part.compile()

        for name in ("queue", "queue2"):
            self.register_buffer(name, F.normalize(torch.randn(feature_channels, queue_length), dim=0))
            self.register_buffer(f"{name}_ptr", torch.zeros(1, dtype=torch.long))

    def forward(
        self, inputs: Tensor, data_samples: dict | None = None, mode: str = "tensor"
    ) -> dict[str, Tensor] | Tensor:
        """Losses of a batch of view pairs, or features of a batch of images.

        Args:
            inputs: mode "loss": (N, 2, 3, H, W), query view and key view; mode "tensor": (N, 3, H, W).
            data_samples: what the data set says about the images; not used by the model.
            mode: "loss" (moves the key encoder and the queues on by one step) or "tensor".

        Returns:
            mode "loss": ``loss_contra_single`` and ``loss_contra_dense``, weighted so that their sum is the loss, and
            for the log the contrastive accuracy (``accuracy_single``, ``accuracy_dense``) and the spread of features
            (``std_single``, ``std_dense``; 1 / sqrt(D) is healthy, 0 is collapse) of both branches;
            mode "tensor": C5 features (N, C, H / 32, W / 32).
        """
        if mode == "tensor":
            return self.backbone(inputs)
        if mode != "loss":
            raise ValueError(f"found mode {mode!r}, expected 'loss' or 'tensor'")
        return self.loss(inputs[:, 0], inputs[:, 1])

    def loss(self, query_images: Tensor, key_images: Tensor) -> dict[str, Tensor]:
        """One step of DenseCL on two views (N, 3, H, W) of the same N images; S below is the number of grid cells."""
        # (N, C, S), (N, D), (N, D, S), and for the keys (N, D)
        features_q, global_q, dense_q, _ = self.encode(self.encoder_q, query_images)
        features_k, global_k, dense_k, pooled_k = self.encode_keys(key_images)

        with torch.autocast(query_images.device.type, enabled=False):  # an outer autocast ends here
            cells = match_dense_keys(F.normalize(features_q.detach(), dim=1), F.normalize(features_k, dim=1))  # (N, S)
            matched_k = gather_cells(dense_k, cells)  # (N, D, S)
            # The losses see the queues as earlier batches left them.
            single, accuracy_single = info_nce(global_q, global_k, self.queue, self.temperature)
            dense_rows = cells_as_rows(dense_q)  # (N * S, D)
            dense, accuracy_dense = info_nce(dense_rows, cells_as_rows(matched_k), self.queue2, self.temperature)

        enqueue(self.queue, self.queue_ptr, gather_ranks(global_k))
        enqueue(self.queue2, self.queue2_ptr, gather_ranks(pooled_k))
        return {
            "loss_contra_single": single * (1 - self.loss_lambda),
            "loss_contra_dense": dense * self.loss_lambda,
            "accuracy_single": accuracy_single,
            "accuracy_dense": accuracy_dense,
            "std_single": feature_spread(global_q),
            "std_dense": feature_spread(dense_rows),
        }

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
        if self.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        dtype = PRECISIONS[self.precision]
        with torch.autocast(images.device.type, dtype=dtype, enabled=dtype != torch.float32):
            features = encoder[0](images)
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


def cells_as_rows(grid: Tensor) -> Tensor:
    """(N, D, S) -> (N * S, D)."""
    return grid.transpose(1, 2).flatten(0, 1)
