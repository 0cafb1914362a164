"""What a person asks for: the scans, the network, and how scans are to be prepared for it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from Stage2.segmentation.method import Method

WARN_BELOW = 0.5


@dataclass(frozen=True)
class Request:
    """Everything that a call asks for.

    Attributes:
        supports: scans with their masks.
        query: a scan, or a folder of them.
        checkpoint: snapshot, or run folder.
        labels: to segment, as in the masks.
        out: folder to write to.
        modality, dataset, like, axes, prepared, ct_statistics: how scans are prepared, see `transform_for`.
        method: how queries are segmented.
        clean_up: keep the largest piece of each organ and fill its holes.
        encoder_name: that the checkpoint must have; None: any.
        precision, device, threads: of the encoder.
        cache: folder of support features; None: none.
        probabilities, report: write them too.
        truth: ground truth, a file or a folder; None: nothing is scored.
        warn_below: confidence under which a warning is given.
        force: do again what is done.
    """

    supports: Sequence[tuple[Path, Path]]
    query: Path
    checkpoint: Path
    labels: Sequence[int]
    out: Path
    modality: str | None = None
    dataset: str | None = None
    like: Path | None = None
    axes: str | None = None
    prepared: bool = False
    ct_statistics: tuple[float, float] | None = None
    method: Method = field(default_factory=Method)
    clean_up: bool = False
    encoder_name: str | None = None
    precision: str = "fp32"
    device: str = "auto"
    threads: int | None = None
    cache: Path | None = None
    probabilities: bool = False
    report: bool = False
    truth: Path | None = None
    warn_below: float = WARN_BELOW
    force: bool = False
