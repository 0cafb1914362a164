"""Stage 2: few-shot organ segmentation trained on superpixel pseudo-labels, and adaptation to annotated scans."""

from typing import Any

from Stage1.compatibility import mend_process

mend_process()


def __getattr__(name: str) -> Any:
    """`Stage2.adapt`, imported when it is asked for."""
    if name != "adapt":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from Stage2.inference.adapting import adapt

    return adapt
