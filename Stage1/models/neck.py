"""The two projection heads of DenseCL: one vector per image, one vector per cell."""

from torch import Tensor, nn


class DenseCLNeck(nn.Module):
    """Global and dense projection heads over a shared feature grid.

    Args:
        in_channels: channels C of the backbone's features; the hidden layers are as wide.
        out_channels: channels D of both projections.

    Source: DenseCL (Wang et al., CVPR 2021), section 3.2.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(in_channels, in_channels), nn.ReLU(inplace=True), nn.Linear(in_channels, out_channels)
        )
        self.mlp2 = nn.Sequential(
            nn.Conv2d(in_channels, in_channels, 1), nn.ReLU(inplace=True), nn.Conv2d(in_channels, out_channels, 1)
        )
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
                nn.init.zeros_(module.bias)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Features (N, C, H, W) -> global projection (N, D) and dense projection (N, D, H * W), not normalised."""
        global_projection = self.mlp(features.mean(dim=(2, 3)))
        dense_projection = self.mlp2(features).flatten(2)
        return global_projection, dense_projection
