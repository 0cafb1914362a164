"""The kinds of runs: their entry points, their names in run folders, and whose snapshots they take."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Mode:
    """A kind of run.

    Attributes:
        entry: script below Stage2/.
        name: first part of exp_prefix.
        source: name of the runs that its snapshots come from; None: it starts from the beginning.
        trains: whether it makes snapshots; else it tests one.
    """

    entry: str
    name: str
    source: str | None
    trains: bool


MODES: Mapping[str, Mode] = {
    "train": Mode("training.py", "train", None, True),
    "test": Mode("validation.py", "test", "train", False),
    "finetune": Mode("finetuning.py", "ft_train", "train", True),
    "finetune-test": Mode("validation.py", "ft_test", "ft_train", False),
}
