"""What a person asks for: the scans, the network, and how scans are to be prepared for it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from Stage2.segmentation.method import Method

WARN_BELOW = 0.5


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """How scans are prepared for the network, see `Stage2.inference.transform.transform_for`.

    Attributes:
        modality: MR or CT.
        dataset: name or file of a data set, which tells the modality and the names of labels.
        like: an image of a processed folder: its voxel size and axes.
        axes: in which slices are shown to the network.
        prepared: scans come as training read them.
        ct_statistics: mean and deviation that normalise CT.
    """

    modality: str | None = None
    dataset: str | None = None
    like: Path | None = None
    axes: str | None = None
    prepared: bool = False
    ct_statistics: tuple[float, float] | None = None


@dataclass(frozen=True, kw_only=True)
class Request(Preparation):
    """Everything that a call asks for.

    Attributes:
        query: a scan, a folder of them, or several of either; None: they are `listed`.
        listed: CSV file that names them, see `Stage2.io.scans.list_scans_of`.
        out: folder to write to.
        supports: scans with their masks; none for a network that is adapted already.
        checkpoint: snapshot, run folder, or adapted network; None: the starting network is adapted to the supports.
        labels: to segment, as in the masks; None: all.
        approach: "prototypes" or "adapted"; None: as the checkpoint is, else adapted.
        adapt: minutes of processor time for adapting; None: the default.
        method: how queries are segmented by prototypes.
        clean_up: keep the largest piece of each organ and fill its holes; an adapted network always keeps that piece.
        encoder_name: that the checkpoint must have; None: any.
        precision, device, threads: of the encoder.
        cache: folder of support features and adapted networks; None: none.
        probabilities, report: write them too.
        truth: ground truth, a file or a folder; None: nothing is scored.
        warn_below: confidence under which a warning is given.
        suggest: name the query that is most worth annotating next.
        force: do again what is done.
    """

    query: Path | Sequence[Path] | None = None
    out: Path
    listed: Path | None = None
    supports: Sequence[tuple[Path, Path]] = ()
    checkpoint: Path | None = None
    labels: Sequence[int] | None = None
    approach: str | None = None
    adapt: float | None = None
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
    suggest: bool = False
    force: bool = False
