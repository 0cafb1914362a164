"""Where a training is: steps, episodes, and the scalars that were reported and are still to be."""

from dataclasses import dataclass, field


@dataclass
class TrainingState:
    """All that a resumed training needs besides weights, optimiser and schedule.

    Attributes:
        step: optimiser steps done.
        episode: episodes drawn; more than `step` where some were degenerate.
        degenerate: episodes left out because a support had no background prototype.
        scalars: (step, {name: value}) of every report so far.
        unreported: {name: value} of every step since the last report.
        degenerate_in_a_row: episodes left out since the last step.
    """

    step: int = 0
    episode: int = 0
    degenerate: int = 0
    scalars: list[tuple[int, dict[str, float]]] = field(default_factory=list)
    unreported: list[dict[str, float]] = field(default_factory=list)
    degenerate_in_a_row: int = 0

    def add_step(self, scalars: dict[str, float]) -> None:
        """A step was taken."""
        self.step += 1
        self.degenerate_in_a_row = 0
        self.unreported.append(scalars)

    def add_degenerate(self, episodes: int) -> None:
        """All episodes of a step were left out."""
        self.degenerate += episodes
        self.degenerate_in_a_row += episodes

    def take_means(self) -> dict[str, float]:
        """Means over the steps since the last report, and the number of degenerate episodes so far."""
        rows, self.unreported = self.unreported, []
        means = {key: sum(row[key] for row in rows) / len(rows) for key in rows[0]}
        return means | {"degenerate_episodes": self.degenerate}
