"""Segment scans from annotated examples: `from Stage2.predict import segment`, or as a command (docs/predict.md)."""

import runpy
from pathlib import Path
from typing import Any

__all__ = ["Predictor", "Segmentation", "Support", "segment"]  # noqa: F822, __getattr__ has them


def __getattr__(name: str) -> Any:
    """What is offered here, imported when it is asked for, so that the command's help needs no network."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from Stage2.inference import predictor, segment

    return getattr(segment if name == "segment" else predictor, name)


if __name__ == "__main__":
    runpy.run_path(str(Path(__file__).resolve().parents[1] / "tools" / "predict.py"), run_name="__main__")
