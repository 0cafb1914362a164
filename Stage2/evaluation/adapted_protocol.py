"""Testing with a network that is adapted to the supports of a fold, by the paper protocol or the clean one.

By the paper protocol it learns a class from that class's support slices alone, as prototypes do, and from nothing else
of the support's label. By the clean protocol it learns from whole support scans, as a user's network does. Nothing of a
query is looked at before the network is finished, and nothing of its label before its masks are.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from Stage2.adaptation.adapt import AdaptedWeights, adapt_slices, side_for
from Stage2.adaptation.inference import keep_largest_pieces, on_slices, organ_shares
from Stage2.adaptation.settings import AdaptationSettings
from Stage2.adaptation.working_grid import AnnotatedSlices, choose_side, labels_on_working_grid, to_working_grid
from Stage2.datasets.labels import check_support
from Stage2.datasets.volumes import Scan
from Stage2.evaluation.protocol import ClassTask, ScanResult, check_shown, score_scan
from Stage2.segmentation.scans import label_map

logger = logging.getLogger(__name__)


class AdaptedProtocol:
    """Classes to test with a network that was adapted to them, ready for queries.

    Args:
        adapted: the network; its organs are the classes, in their order.
        tasks: the classes.
        side: of the working grid.
        clean: the clean protocol; else the paper protocol.
    """

    def __init__(self, adapted: AdaptedWeights, tasks: Sequence[ClassTask], side: int, clean: bool):
        self.adapted, self.tasks, self.side, self.clean = adapted, list(tasks), side, clean
        self.network = adapted.network

    def evaluate(self, query: Scan, full_volume: bool = False, **scoring: Any) -> list[ScanResult]:
        """Segment all classes in one query scan, then score them as tests with prototypes do.

        By the clean protocol a scan without a class counts what is wrongly found; by the paper protocol it is left out.

        Args:
            query: scan with label, which is read after all masks are made.
            full_volume: also score all slices; the clean protocol always does.
            scoring: of `score_scan`.
        """
        results = []
        for task, found in zip(self.tasks, self.masks(Scan(query.id, query.image)), strict=True):
            mask = found
            if not self.clean and query.id not in task.ranges:
                logger.warning("scan %s has no %s: left out, its scores are undefined", query.id, task.name)
                mask = None
            results.append(score_scan(task, query, mask, full_volume=full_volume or self.clean, **scoring))
        return results

    def masks(self, query: Scan) -> list[np.ndarray]:
        """Mask of every class in a query scan, (Z, H, W) bool each; the scan needs no label."""
        shares = organ_shares(self.network, to_working_grid(query.image, self.side))
        if self.clean:
            keep_largest_pieces(shares)
        size = query.image.shape[1:]
        labels = label_map(
            {task.label: on_slices(shares[:, organ].numpy(), size) for organ, task in enumerate(self.tasks, start=1)}
        )
        return [labels == task.label for task in self.tasks]


def adapt_to_supports(
    supports: Sequence[Scan], tasks: Sequence[ClassTask], start: str | Path, settings: AdaptationSettings, *,
    clean: bool, device: torch.device | str = "cpu",
) -> AdaptedProtocol:  # fmt: skip
    """Adapt one network to all classes of a fold.

    Args:
        supports: support scans with labels.
        tasks: the classes.
        start: "random", or a file of weights.
        settings: budget and seed.
        clean: learn from whole support scans; else from the support slices of every class.
        device: where the network runs.

    Raises:
        FileNotFoundError, ValueError: a support lacks a class, or the start does not fit.
        KeyboardInterrupt: Ctrl-C ended the adaptation.
    """
    shown = [support_masks(scan, tasks, clean) for scan in supports]
    side = settings.side or side_for(start, settings.encoder) or choose_side([masks for masks, _ in shown])
    scans = [
        AnnotatedSlices(
            f"support scan {scan.id}", to_working_grid(scan.image, side), *labels_on_working_grid(masks, side, known)
        )
        for scan, (masks, known) in zip(supports, shown, strict=True)
    ]
    names = ", ".join(task.name for task in tasks)
    logger.info("adapting to %d support scan(s) with %s for %s", len(scans), names, settings.budget)
    adapted = adapt_slices(scans, len(tasks), start, settings, device=device)
    if not adapted.finished:
        raise KeyboardInterrupt
    logger.info("adapted: %d steps in %.1f minutes of processor time", adapted.steps, adapted.minutes)
    return AdaptedProtocol(adapted, tasks, side, clean)


def support_masks(scan: Scan, tasks: Sequence[ClassTask], clean: bool) -> tuple[dict[int, np.ndarray], np.ndarray]:
    """What a network may learn from of a support scan.

    Args:
        scan: with label.
        tasks: the classes.
        clean: all slices; else the support slices of every class.

    Returns:
        label -> its mask, (Z, H, W) bool, empty where it is not known; and (Z, classes) bool, the slices in which each
        class is known.

    Raises:
        ValueError: the scan, or a support slice, does not show a class.
    """
    known = np.full((len(scan.image), len(tasks)), clean)
    if clean:
        check_shown(scan, tasks)
    for place, task in enumerate(() if clean else tasks):
        check_support(scan.id, scan.label, task.support_slices[scan.id], task.label, task.name)
        known[list(task.support_slices[scan.id]), place] = True
    masks = {task.label: (scan.label == task.label) & known[:, place, None, None] for place, task in enumerate(tasks)}
    return masks, known
