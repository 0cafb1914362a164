"""DenseCL: backbone, neck, losses and the model that joins them."""

from Stage1.models.backbone import ResNetC5
from Stage1.models.densecl import DenseCL
from Stage1.models.neck import DenseCLNeck

__all__ = ["DenseCL", "DenseCLNeck", "ResNetC5"]
