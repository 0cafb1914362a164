"""The clean protocol: every query is segmented as a user's scan is, without its label, which only scores it.

As in the paper protocol every slice is segmented, also those far from the organ (`Method.margin` None).
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from Stage2.datasets.volumes import Scan
from Stage2.evaluation.protocol import ClassTask, Encode, ScanResult, check_shown, score_scan
from Stage2.models.alp import DegenerateEpisodeError
from Stage2.models.few_shot import FewShotSegmenter
from Stage2.segmentation.matching import Extent
from Stage2.segmentation.method import Method
from Stage2.segmentation.scans import PreparedScan, encode_slices, organ_probability, support_slices_of


class CleanProtocol:
    """Classes to test, with their supports, ready for queries.

    Args:
        model: the segmenter, in evaluation mode.
        supports: support scans with labels.
        tasks: the classes; here they get the support slices that the method takes.
        method: how queries are segmented.
        extent_of: scan id -> first and last slice of its body; asked where slices are matched by position.
        encode: gives features that may be at hand; None: scans are encoded here.

    Raises:
        ValueError: a support scan lacks a class.
    """

    def __init__(
        self, model: FewShotSegmenter, supports: Sequence[Scan], tasks: Sequence[ClassTask], method: Method,
        extent_of: Callable[[str], Extent], encode: Encode | None = None,
    ):  # fmt: skip
        self.model, self.method, self._extent_of = model, method, extent_of
        self._encode = encode or partial(encode_slices, model, at_once=method.slices_at_once)
        self.supports, self.tasks = [], []
        for scan in supports:
            check_shown(scan, tasks)
            masks = {task.label: scan.label == task.label for task in tasks}
            self.supports.append(replace(self._prepared(scan), masks=masks))
        for task in tasks:
            slices = {scan.name: support_slices_of(scan, task.label, method) for scan in self.supports}
            self.tasks.append(replace(task, support_slices=slices))

    def evaluate(self, query: Scan, **scoring: Any) -> list[ScanResult]:
        """Segment every class in one query scan, then score it over its class range and over the full volume.

        A scan without the class is segmented too: its full volume counts what is wrongly found.

        Args:
            query: scan with label, which is read after all masks are made.
            scoring: of `score_scan`.
        """
        masks = self.masks(Scan(query.id, query.image))
        return [
            score_scan(task, query, mask, full_volume=True, **scoring)
            for task, mask in zip(self.tasks, masks, strict=True)
        ]

    def masks(self, query: Scan) -> list[np.ndarray]:
        """Mask of every class in a query scan, (Z, H, W) bool each; the scan needs no label."""
        prepared, size = self._prepared(query), query.image.shape[1:]
        masks = []
        for task in self.tasks:
            try:
                found = organ_probability(self.model, prepared, self.supports, task.label, self.method, size)
            except DegenerateEpisodeError as error:
                raise ValueError(f"{task.name} fills the whole of a support slice: {error}") from error
            masks.append(found > 0.5)
        return masks

    def _prepared(self, scan: Scan) -> PreparedScan:
        features = self._encode(scan.image)
        extent = self._extent_of(scan.id) if self.method.matching == "position" else (0, len(scan.image) - 1)
        return PreparedScan(scan.id, features, extent)
