"""Backbones, pretext tasks (one file each), and what they share; what is named here is imported once asked for."""

from importlib import import_module

_MODULES = {"DenseCL": "densecl", "DenseCLNeck": "neck", "ResNetC5": "backbone"}


def __getattr__(name: str) -> type:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
