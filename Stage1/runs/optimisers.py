"""Optimisers that torch does not have, by the names that configs use."""

from collections.abc import Iterable
from typing import Any

from mmengine.registry import OPTIMIZERS
from torch.optim import Optimizer

from Stage1.models.extras import from_library


@OPTIMIZERS.register_module(name="LARS")
def lars(params: Iterable, **settings: Any) -> Optimizer:
    """lightly's LARS; parameters without weight decay are not scaled, as published for SimCLR.

    Source: You et al., 2017; SimCLR (Chen et al., ICML 2020), appendix B.6.
    """
    return from_library("lightly.utils.lars", "LARS")(params, **settings)
