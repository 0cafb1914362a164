"""SimCLR: two views of an image find each other among the views of the whole batch."""

import torch
from mmengine import dist
from mmengine.registry import MODELS
from torch import Tensor

from Stage1.models.backbone import ResNetC5
from Stage1.models.contrast import feature_spread
from Stage1.models.extras import from_library
from Stage1.models.pretext import PretextTask


@MODELS.register_module()
class SimCLR(PretextTask):
    """Contrast of two views, with the other images of the batch (of all processes) as negatives.

    Args:
        depth: ResNet depth, 18, 50 or 101.
        feature_channels: D, channels of the projection; its hidden layer is as wide as the backbone's features.
        temperature: of NT-Xent.
        common: as of :class:`Stage1.models.pretext.PretextTask`.

    The last batch norm of every residual block starts with weight 0. Loss and projection head are lightly's.

    Source: Chen et al., ICML 2020.
    """

    def __init__(self, depth: int = 50, feature_channels: int = 128, temperature: float = 0.1, **common) -> None:
        super().__init__(**common)
        loss = from_library("lightly.loss.ntx_ent_loss", "NTXentLoss")
        head = from_library("lightly.models.modules.heads", "SimCLRProjectionHead")
        self.backbone = ResNetC5(depth, zero_init_residual=True)
        channels = self.backbone.out_channels
        self.neck = head(channels, channels, feature_channels)
        self.nt_xent = loss(temperature, gather_distributed=dist.get_world_size() > 1)
        self.prepare(self.backbone, self.neck)

    def loss(self, first: Tensor, second: Tensor) -> dict[str, Tensor]:
        """NT-Xent of both views (N, 3, H, W), and the spread of their projections for the log."""
        images = self.laid_out(torch.cat([first, second]))
        with self.autocast(images.device):
            projections = self.neck(self.backbone(images).mean(dim=(2, 3)))  # 2 N, D
        with torch.autocast(images.device.type, enabled=False):
            projections = projections.float()
            loss = self.nt_xent(*projections.chunk(2))
            return {"loss_nt_xent": loss, "std_features": feature_spread(torch.nn.functional.normalize(projections))}
