"""How long the runs that are left will take, from those done and from the steps of those in progress."""

import heapq
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from Stage2.launching.plan import FoldRun
from Stage2.launching.progress import steps_done
from Stage2.run_folders.layout import list_runs


@dataclass
class _Observed:
    """What is known of a run in progress: when it began, its runs before, its first and its latest reported step."""

    begun: float
    earlier: frozenset[Path]
    first: tuple[float, int] | None = None
    latest: tuple[float, int] | None = None


@dataclass
class Pace:
    """Seconds for each unit of work; a unit is a step of a training, or a whole test.

    Attributes:
        seconds: of the runs that have ended.
        units: of the same runs.
    """

    seconds: float = 0.0
    units: int = 0
    observed: dict[int, _Observed] = field(default_factory=dict)

    def begin(self, job: FoldRun) -> None:
        """A run starts now."""
        self.observed[id(job)] = _Observed(time.monotonic(), frozenset(list_runs(job.folder)))

    def end(self, job: FoldRun, seconds: float) -> None:
        """A run has ended well."""
        self.observed.pop(id(job), None)
        self.seconds += seconds
        self.units += units_of(job)

    def note(self, job: FoldRun) -> int:
        """Look at the reported step of a training in progress; returns it."""
        seen = self.observed[id(job)]
        step = steps_done(job.folder, seen.earlier) if job.steps else 0
        if step:
            seen.latest = (time.monotonic(), step)
            seen.first = seen.first or seen.latest
        return step

    def per_unit(self) -> float | None:
        """Seconds for each unit, from all that is known; None where nothing is."""
        seconds, units = self.seconds, self.units
        for seen in self.observed.values():
            if seen.first and seen.latest and seen.latest[1] > seen.first[1]:
                seconds += seen.latest[0] - seen.first[0]
                units += seen.latest[1] - seen.first[1]
        return seconds / units if units else None

    def left_of(self, job: FoldRun, per_unit: float) -> float:
        """Seconds that a run in progress still takes."""
        seen = self.observed[id(job)]
        now = time.monotonic()
        if seen.latest is None:
            return max(units_of(job) * per_unit - (now - seen.begun), 0.0)
        return max((job.steps - seen.latest[1]) * per_unit - (now - seen.latest[0]), 0.0)


def units_of(job: FoldRun) -> int:
    """Work of a job: the steps that are left of a training, 1 for a test."""
    return max(job.steps - job.progress.step, 1)


def time_left(waiting: Iterable[FoldRun], running: Iterable, pace: Pace, n_slots: int) -> float | None:
    """Seconds until the last run ends; None where nothing tells the pace.

    Args:
        waiting: jobs in the order in which they will start.
        running: runs in progress, each with its `job`.
        pace: what is known.
        n_slots: runs at a time.
    """
    per_unit = pace.per_unit()
    if per_unit is None:
        return None
    ends = [pace.left_of(run.job, per_unit) for run in running]
    ends += [0.0] * (n_slots - len(ends))
    heapq.heapify(ends)
    for job in waiting:
        heapq.heappush(ends, heapq.heappop(ends) + units_of(job) * per_unit)
    return max(ends)


def describe(seconds: float | None, suffix: str = " left") -> str:
    """Seconds in words, to two places."""
    if seconds is None:
        return "time left not known yet"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        text = f"{days} d {hours} h"
    elif hours:
        text = f"{hours} h {minutes} min"
    else:
        text = f"{minutes} min {rest} s" if minutes else f"{rest} s"
    return f"{'about ' if suffix else ''}{text}{suffix}"
