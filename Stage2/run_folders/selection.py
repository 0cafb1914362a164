"""Which snapshot of a training run to test or fine-tune: by a rule, with the reason it goes by."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from Stage2.datasets.catalog import get_dataset
from Stage2.datasets.folds import DISJOINT
from Stage2.run_folders.layout import (
    PAPER,
    PROTOTYPES,
    RESULTS,
    SNAPSHOTS,
    list_runs,
    list_snapshots,
    method_of,
    read_config,
    read_results,
    read_scalars,
    snapshot_path,
)
from Stage2.run_folders.unusual import has_published_support, unusual_settings

LAST, TRAIN_SCANS, TEST = "last", "train_scans", "test"
COMPARING = (TRAIN_SCANS, TEST)
RULES = (LAST, *COMPARING)
TRAIN_SCANS_DICE = "train_scans_dice"  # scalar that a run with eval_every logs
PUBLISHED_PROTOCOL = PAPER
STEP, GIVEN, ALL = "step", "given", "all"  # rules of the experiments' driver that compare nothing
PARTS = 4  # of a path that tell a snapshot within a log folder: experiment folder, run id, snapshots, file


@dataclass(frozen=True)
class Choice:
    """A snapshot, and how it was chosen.

    Attributes:
        snapshot: the file.
        rule: one of `RULES`, or of the driver; None where the file was given and nothing is known.
        reason: in words.
    """

    snapshot: Path
    rule: str | None = None
    reason: str | None = None

    @property
    def compared(self) -> str | None:
        """The rule, where snapshots were compared; None for the last one or a given one."""
        return self.rule if self.rule in COMPARING else None

    def __str__(self) -> str:
        return ": ".join(filter(None, (self.rule, self.reason))) or "as given"


def choose_snapshot(folder: Path, rule: str) -> Choice:
    """A snapshot of a run.

    Args:
        folder: run folder, or experiment folder: then the latest run with snapshots.
        rule: "last": the highest step; "train_scans": the highest Dice of the training classes in training scans;
            "test": the highest mean Dice in the test scans, as published, which looks at test labels. The earlier one
            of equals.

    Raises:
        FileNotFoundError: there are no snapshots, or no metrics.json.
        ValueError: the rule is unknown, or no snapshot was tested in the way that the rule compares.
    """
    if rule not in RULES:
        raise ValueError(f"select={rule} is unknown; choose one of {', '.join(RULES)}.")
    run = run_with_snapshots(folder)
    snapshots = dict(list_snapshots(run))
    if rule == LAST:
        step = max(snapshots)
        return Choice(snapshots[step], LAST, f"step {step} is the last of {len(snapshots)} snapshot(s)")
    if rule == TRAIN_SCANS:
        tested = {step: dice for step, dice in _dice_on_training_scans(run).items() if step in snapshots}
        found, scored = f"no {TRAIN_SCANS_DICE} for its snapshots", "Dice of training classes in training scans"
        remedy = f"train with eval_every=STEPS, or choose select={LAST}"
    else:
        tested = dice_of_tests(run)
        found = f"no test of its snapshots ({PUBLISHED_PROTOCOL} protocol, published settings)"
        scored = "mean Dice in test scans"
        remedy = f"test them all first (SNAPSHOTS=all bash <its test script>), or choose select={LAST}"
    if not tested:
        raise ValueError(f"{run} has {found}, which select={rule} compares; {remedy}.")
    best = max(sorted(tested), key=tested.get)
    reason = f"{scored} {tested[best]:.4f} at step {best}, the best of {len(tested)} tested"
    if len(tested) < len(snapshots):
        reason += f" ({len(snapshots) - len(tested)} of {len(snapshots)} snapshots are untested)"
    return Choice(snapshots[best], rule, reason)


def snapshot_of_step(folder: Path, step: int) -> Choice:
    """The snapshot of a step, of the latest run in an experiment folder that has it.

    Raises:
        FileNotFoundError: no run has it.
    """
    for run in reversed(list_runs(folder)):
        path = snapshot_path(run, step)
        if path.is_file():
            return Choice(path, STEP, f"{step} was asked for")
    raise FileNotFoundError(f"no run in {folder} has a snapshot of step {step}; train longer or name another step")


def run_with_snapshots(folder: Path) -> Path:
    """The folder itself where it is a run's, else the latest run in it that has snapshots.

    Raises:
        FileNotFoundError: there are none.
    """
    runs = [folder] if (folder / SNAPSHOTS).is_dir() else list_runs(folder)
    with_snapshots = [run for run in runs if list_snapshots(run)]
    if not with_snapshots:
        found = f"{len(runs)} run(s) without snapshots" if runs else "no run"
        raise FileNotFoundError(
            f"{folder} holds {found}; expected {SNAPSHOTS}/<step>.pth: train this experiment first, or name a snapshot "
            "or the folder of a run that has some."
        )
    return with_snapshots[-1]


def dice_of_tests(run: Path) -> dict[int, float]:
    """{step: mean Dice} of the run's snapshots that have been tested as published, with prototypes of their own head.

    Tests are looked for in the log folder that holds the run's experiment folder; of several tests of a snapshot, the
    latest run counts. A test that was cut short or gave no Dice does not count.
    """
    run = run.resolve()
    log_dir = run.parent.parent
    snapshots = list_snapshots(run)
    dice, head = {}, read_config(run).get("clsname")
    for path in sorted(log_dir.glob(f"*/*/{RESULTS}"), key=_experiment_and_number):
        try:
            results = read_results(path.parent)
        except ValueError:
            continue
        score = (results.get("mean") or {}).get("dice")
        as_published = (
            results.get("protocol") == PUBLISHED_PROTOCOL
            and method_of(results) == PROTOTYPES
            and not results.get("query_prototypes")
            and results.get("fold_scheme", DISJOINT) == DISJOINT
            and not unusual_settings(results)
            and (None in (head, results.get("clsname")) or results["clsname"] == head)
            and has_published_support(results, _fold_boundaries(path.parent, results))
        )
        if not as_published or not results.get("snapshot") or not _defined(score):
            continue
        tested = log_dir.joinpath(*place_in_log_folder(results["snapshot"]))
        for step, snapshot in snapshots:
            # a resumed run shares the snapshots of the run that it goes on from
            if tested == snapshot or (tested.is_file() and tested.samefile(snapshot)):
                dice[step] = score
    return dice


def place_in_log_folder(snapshot: str | Path) -> tuple[str, ...]:
    """What tells a snapshot within a log folder, wherever that lies."""
    return Path(snapshot).parts[-PARTS:]


def resolve_choice(
    reload_model_path: str | Path | None, select: str = LAST, rule: str | None = None, reason: str | None = None
) -> Choice | None:
    """The snapshot that a configuration means: none, a file, or a folder's by a rule.

    Args:
        reload_model_path: file or folder; None: no snapshot.
        select: rule for a folder, as in `choose_snapshot`.
        rule, reason: how a file was chosen, as whoever chose it tells.
    """
    if reload_model_path is None:
        return None
    path = Path(reload_model_path)
    return choose_snapshot(path, select) if path.is_dir() else Choice(path, rule, reason)


def choice_record(choice: Choice | None) -> dict[str, Any]:
    """The choice as plain values for a run's records.

    `selected_by` is the rule where snapshots were compared; `selection` is rule and reason in words, for readers.
    """
    if choice is None:
        return {"snapshot": None, "selected_by": None, "selection": None}
    in_words = None if choice.rule is None and choice.reason is None else str(choice)
    return {"snapshot": str(choice.snapshot), "selected_by": choice.compared, "selection": in_words}


def _dice_on_training_scans(run: Path) -> dict[int, float]:
    steps, values = read_scalars(run).get(TRAIN_SCANS_DICE, ([], []))
    return {step: value for step, value in zip(steps, values, strict=True) if _defined(value)}


def _experiment_and_number(results: Path) -> tuple[str, int]:
    number = results.parent.name
    return results.parent.parent.name, int(number) if number.isdecimal() else -1


def _fold_boundaries(test: Path, results: Mapping[str, Any]) -> Sequence[int] | None:
    """Of the data set that was tested; None where nothing tells them any more."""
    try:
        return get_dataset(read_config(test).get("dataset") or results["dataset"]).fold_boundaries
    except (OSError, ValueError, KeyError):
        return None


def _defined(value: object) -> bool:
    return isinstance(value, int | float) and not math.isnan(value)


def choose_snapshots(source: Path, rule: str = LAST, steps: Sequence[int] = (), every: bool = False) -> list[Choice]:
    """The snapshots of an experiment folder that are asked for: every one of the latest run, those of steps, or one.

    Raises:
        FileNotFoundError, ValueError: as `run_with_snapshots`, `snapshot_of_step` and `choose_snapshot`.
    """
    if every:
        snapshots = list_snapshots(run_with_snapshots(source))
        return [Choice(path, ALL, f"one of {len(snapshots)} snapshot(s), each tested") for _, path in snapshots]
    return [snapshot_of_step(source, step) for step in steps] or [choose_snapshot(source, rule)]
