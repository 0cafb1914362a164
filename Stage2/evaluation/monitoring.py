"""Tests in the middle of a training, on labels that a training may use: the training classes in training scans."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from Stage2.datasets.cohort import Cohort
from Stage2.datasets.volumes import Scan
from Stage2.evaluation.metrics import mean_of_defined
from Stage2.evaluation.protocol import ClassTask, evaluate_scan, support_prototypes
from Stage2.models.few_shot import FewShotSegmenter
from Stage2.run_folders.selection import TRAIN_SCANS_DICE


@dataclass(frozen=True)
class TrainingScanTest:
    """Segments the training classes in some training scans by the paper protocol, as testing does later.

    No label of a test scan and no test class comes in; the class's range in the query is known for training scans.

    Attributes:
        cohort: where the scans are.
        supports: support scans with labels.
        tasks: the training classes; their ranges cover the queries.
        query_ids: training scans to test.
        window: pooling window in testing.
    """

    cohort: Cohort
    supports: Sequence[Scan]
    tasks: Sequence[ClassTask]
    query_ids: Sequence[str]
    window: int

    def __call__(self, model: FewShotSegmenter) -> dict[str, float]:
        """Dice as "train_scans_dice" (mean over classes) and "train_scans_dice_<class>"; the model stays as it was."""
        training = model.training
        model.eval()
        try:
            prototypes = {task.name: support_prototypes(model, self.supports, task, self.window) for task in self.tasks}
            queries = map(self.cohort.annotated_scan, self.query_ids)
            results = [result for query in queries for result in evaluate_scan(model, query, self.tasks, prototypes)]
        finally:
            model.train(training)
        means = {
            task.name: mean_of_defined(own.scores["dice"] for own in results if own.task is task) for task in self.tasks
        }
        named = {f"{TRAIN_SCANS_DICE}_{name}": value for name, value in means.items()}
        return {TRAIN_SCANS_DICE: mean_of_defined(means.values())} | named


def spread_over(scan_ids: Sequence[str], count: int) -> list[str]:
    """At most `count` of these scans, evenly spread over their order."""
    places = np.linspace(0, len(scan_ids) - 1, min(count, len(scan_ids))).round().astype(int)
    return [scan_ids[place] for place in places]
