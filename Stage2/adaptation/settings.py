"""What decides an adapted network: plain values, so that a command can name them before torch is loaded."""

import math
from dataclasses import dataclass
from pathlib import Path

from Stage1.files import hash_file
from Stage2.run_folders.selection import resolve_choice

MINUTES = 3.0  # of processor time, unless something else is asked for
RANDOM_START = "random"
DEFAULT_ENCODER = "dlfcn_res18"
SUFFIX = ".safetensors"  # of files of networks
STARTING_NETWORK = Path(__file__).resolve().parents[2] / "pretrained_model" / f"starting_resnet18{SUFFIX}"


@dataclass(frozen=True)
class AdaptationSettings:
    """How a network is adapted.

    Attributes:
        minutes: of processor time, over all threads; None: `steps` decide.
        steps: of the optimiser, in place of minutes: the same network again from the same seed.
        seed: of the random weights, slices and changes.
        encoder: one of `ENCODERS`; None: that of the start, ResNet-18 for a random one.
        side: pixels of the working grid along a side; None: by the smallest organ.
        batch: slices of a step.
        self_training: unlabelled scans give pseudo-labels on the way.

    Raises:
        ValueError: a value is out of range.
    """

    minutes: float | None = MINUTES
    steps: int | None = None
    seed: int = 1234
    encoder: str | None = None
    side: int | None = None
    batch: int = 8
    self_training: bool = True

    def __post_init__(self):
        if (self.minutes is None) == (self.steps is None):
            raise ValueError("the budget is either minutes or steps; give one of them.")
        if self.minutes is not None and not (math.isfinite(self.minutes) and self.minutes > 0):
            raise ValueError(f"minutes {self.minutes}: expected a number above 0.")
        if self.steps is not None and self.steps < 1:
            raise ValueError(f"steps {self.steps}: expected a whole number from 1 up.")
        if self.side is not None and (self.side < 32 or self.side > 512 or self.side % 32):
            raise ValueError(f"side {self.side}: expected a multiple of 32 from 32 to 512.")
        if self.batch < 2:
            raise ValueError(f"batch {self.batch}: expected 2 or more slices.")
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"seed {self.seed}: expected a seed from 0 up, below 2^63.")

    @property
    def budget(self) -> str:
        """In words."""
        return f"{self.steps} steps" if self.minutes is None else f"{self.minutes:g} minutes of processor time"


def starting_file(start: str | Path | None, encoder: str | None = None) -> str:
    """What to start from: what is named, the snapshot of a run folder, or else the starting network of the repository.

    That is a ResNet-18; where another encoder is wanted, or the file is not there, random weights.
    """
    if start is None:
        there = encoder in (None, DEFAULT_ENCODER) and STARTING_NETWORK.is_file()
        return str(STARTING_NETWORK) if there else RANDOM_START
    return RANDOM_START if start == RANDOM_START else str(resolve_choice(Path(start)).snapshot)


def identity_of_start(start: str | Path) -> str:
    """What stands for a start in identities: the hash of its file, or "random"."""
    return RANDOM_START if start == RANDOM_START else hash_file(start)
