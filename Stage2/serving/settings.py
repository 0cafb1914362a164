"""What a workbench is started with, as plain values."""

from dataclasses import dataclass, field, replace
from pathlib import Path

from Stage2.adaptation.settings import MINUTES, RANDOM_START, starting_file
from Stage2.inference.request import Preparation
from Stage2.inference.transform import data_set_of, transform_for
from Stage2.run_folders.layout import read_config, run_of

STATE = ".workbench"  # folder of the state, in the folder of the scans
MIB = 1 << 20


@dataclass(frozen=True)
class Limits:
    """Bounds on what clients may send.

    Attributes:
        upload: bytes of a scan.
        drawing: bytes of a label map.
        small: bytes of any other request.
        scans: that the folder may hold, uploads included.
        at_once: uploads at one time; others wait.
        queue: jobs that wait.
        listeners: streams of events at one time.
        labels: of one workbench.
    """

    upload: int = 1024 * MIB
    drawing: int = 256 * MIB
    small: int = MIB
    scans: int = 2000
    at_once: int = 4
    queue: int = 50
    listeners: int = 100
    labels: int = 100


@dataclass(frozen=True)
class ServeSettings:
    """Everything that `tools/serve.py` was told.

    Attributes:
        data: folder of the scans.
        adapted: folder of adapted networks, which are read from there and kept there; None: in the state.
        start: what the first adaptation starts from, as of `AdaptRequest`.
        minutes: of processor time for an adaptation.
        steps: of the optimiser, in place of minutes: the same masks again from the same drawings.
        preparation: how scans are prepared.
        read_only: nothing is changed, in the folder or elsewhere.
        limits: on requests.
    """

    data: Path
    adapted: Path | None = None
    start: str | None = None
    minutes: float = MINUTES
    steps: int | None = None
    preparation: Preparation = field(default_factory=Preparation)
    read_only: bool = False
    limits: Limits = field(default_factory=Limits)


def check_settings(settings: ServeSettings) -> None:
    """Refuse what the first job would fail with: a start or an image that is not there, a preparation that is none.

    Raises:
        FileNotFoundError, ValueError, OSError: one of them, as `AdaptJob` says it.
    """
    start, given = starting_file(settings.start), settings.preparation
    if start != RANDOM_START and Path(start).stat().st_size == 0:
        raise ValueError(f"--start {start} is empty; copy or download it again.")
    config = {} if start == RANDOM_START else read_config(run_of(start))
    data_set = data_set_of(given, config)
    if given.modality is None and data_set is None:  # follows from the first example
        given = replace(given, modality="MR" if given.ct_statistics is None else "CT")
    transform_for(given, data_set)
