"""The encoders and heads that settings can name; nothing is imported for their names.

A new one is a file with its class, and a line here. The value is that class, or where it lies, as "module:class".
"""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

# Backbones: called without arguments, a module images (B, 3, H, W) -> features (B, out_channels, H/stride, W/stride).
ENCODERS: dict[str, str | Callable] = {
    "dlfcn_res18": "Stage2.models.resnets:dilated_resnet18",
    "dlfcn_res50": "Stage2.models.resnets:dilated_resnet50",
    "dlfcn_res101": "Stage2.models.resnets:dilated_resnet101",
    "dlfcn_res50_mmcv": "Stage2.models.resnets:plain_resnet50",
    "dlfcn_res101_mmcv": "Stage2.models.resnets:plain_resnet101",
    "dlfcn_swin_mmcv": "Stage1.models.transformers:SwinBackbone",
    "dlfcn_vit_mmcv": "Stage1.models.transformers:VisionTransformerBackbone",
    # Small ones, for the weights of Stage 1's demo recipes.
    "dlfcn_res18_mmcv": "Stage2.models.resnets:plain_resnet18",
    "dlfcn_swin_tiny_mmcv": "Stage1.models.transformers:swin_tiny",
    "dlfcn_vit_tiny_mmcv": "Stage1.models.transformers:vit_tiny",
}
# Subclasses of Stage2.models.heads.Head, called without arguments.
HEADS: dict[str, str | Callable] = {
    "grid_proto": "Stage2.models.heads:LocalPrototypeHead",  # ALPNet
    "global_proto": "Stage2.models.heads:GlobalPrototypeHead",  # PA-Net
    "anomaly": "Stage2.models.anomaly:AnomalyHead",  # ADNet
    "anomaly_query": "Stage2.models.anomaly:AnomalyQueryHead",  # ADNet, threshold from the query
}
PRECISIONS = ("fp32", "bf16", "fp16")  # of the encoder


def build(registry: Mapping[str, str | Callable], name: str, setting: str) -> Any:
    """What a name stands for, made.

    Args:
        registry: `ENCODERS` or `HEADS`.
        name: one of its keys.
        setting: that gave the name, for the message.

    Raises:
        ValueError: no such name.
    """
    if name not in registry:
        raise ValueError(f"{setting}={name} is unknown; choose one of {', '.join(registry)}.")
    entry = registry[name]
    if isinstance(entry, str):
        module, _, attribute = entry.partition(":")
        entry = getattr(import_module(module), attribute)
    return entry()
