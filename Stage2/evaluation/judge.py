"""Judging frozen backbones by probes: which networks, on which cells of a processed folder, and all they score."""

import argparse
import logging
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

from Stage1.models.transformers import transformer_of
from Stage1.weights.backbones import backbone_weights, built_depth, load_backbone
from Stage1.weights.checkpoints import read_checkpoint
from Stage2.datasets.catalog import get_dataset
from Stage2.datasets.cohort import Cohort
from Stage2.datasets.volumes import SLICE_SIZE
from Stage2.evaluation.cells import choose_training_cells, read_cells
from Stage2.evaluation.metrics import mean_of_defined, or_none
from Stage2.evaluation.probe import ProbeScore, has_batch_norm, probe_backbone
from Stage2.evaluation.probe_names import BATCH_NORMS, LAST_STAGE, NO_BATCH_NORM
from Stage2.io.names import label_path
from Stage2.models.resnets import DilatedResNet

RANDOM = "random"
DEFAULT_DEPTH = 101  # the method's

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Network:
    """A kind of backbone.

    Attributes:
        name: for tables.
        build: makes one with random weights.
        depth: of a ResNet; None: it is none.
    """

    name: str
    build: Callable[[], nn.Module]
    depth: int | None = None


@dataclass(frozen=True)
class Candidate:
    """A network to judge: weights of a file, or untrained networks of some seeds."""

    name: str
    network: Network
    path: Path | None = None
    seeds: Sequence[int] = ()

    def backbones(self) -> Iterator[nn.Module]:
        """The networks whose scores are averaged, one at a time."""
        if self.path is not None:
            backbone = self.network.build()
            load_backbone(backbone, self.path)
            yield backbone
        for seed in self.seeds:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                yield self.network.build()


def resnet(depth: int) -> Network:
    """The dilated ResNet of Stage 2."""
    return Network(f"ResNet-{depth}", partial(DilatedResNet, depth), depth)


def network_in(path: Path) -> Network:
    """The kind of the backbone in a file.

    Raises:
        FileNotFoundError, ValueError: it holds none.
    """
    weights = backbone_weights(read_checkpoint(path), path)
    if "conv1.weight" in weights:
        return resnet(built_depth(weights, path))
    try:
        build = transformer_of(weights, SLICE_SIZE)
    except ValueError as error:
        raise ValueError(f"{error}, in {path}; give another file") from None
    with torch.device("meta"):
        return Network(build().name, build)


def list_candidates(names: Sequence[str], random: bool, depth: int | None, seeds: Sequence[int]) -> list[Candidate]:
    """Networks to judge: every file once, then the untrained one of every kind among them (or a ResNet of `depth`).

    Raises:
        FileNotFoundError, ValueError: a file holds no backbone; all are loaded once, before anything is computed.
    """
    candidates = []
    for name in dict.fromkeys(names):
        if name != RANDOM:
            path = Path(name)
            candidates.append(Candidate(name, network_in(path), path=path))
            next(candidates[-1].backbones())
    if random or RANDOM in names:
        kinds = {candidate.network.name: candidate.network for candidate in candidates}
        chosen = list(kinds.values()) or [resnet(DEFAULT_DEPTH)]
        chosen = [resnet(depth)] if depth else sorted(chosen, key=lambda network: (network.depth or 0, network.name))
        candidates += [Candidate(RANDOM, network, seeds=seeds) for network in chosen]
    return candidates


def open_cohort(folder: Path, dataset: str, fold: int) -> Cohort:
    """The processed folder, which must have labels.

    Raises:
        FileNotFoundError, ValueError: no processed data set, no labels, unknown data set, or no such fold.
    """
    data_set = get_dataset(dataset)
    if not 0 <= fold < data_set.n_folds:
        raise ValueError(f"--fold {fold} is not a fold of {data_set.name}; choose 0 to {data_set.n_folds - 1}.")
    cohort = Cohort(folder, data_set, fold)
    for path in (label_path(folder, scan_id) for scan_id in (*cohort.fold.train, *cohort.fold.test)):
        if not path.is_file():
            raise FileNotFoundError(f"{path} does not exist; the probes learn from labels: add those of every scan.")
    return cohort


def evaluate(options: argparse.Namespace) -> dict:
    """Everything that the table and the JSON file of `tools/evaluate_features.py` say, by its arguments."""
    cohort = open_cohort(options.data, options.dataset, options.fold)
    seeds = [options.seed + index for index in range(options.random_seeds)]
    candidates = list_candidates(options.weights, options.random, options.depth, seeds)
    other = next((own for own in candidates if own.network.depth is None), None)
    if other is not None and options.stage != LAST_STAGE:
        raise ValueError(
            f"found --stage {options.stage} for {other.name}, a {other.network.name}, expected {LAST_STAGE}, the last "
            "stage, for networks that are no ResNet; judge the ResNets in a call of their own."
        )
    names = [cohort.data_set.class_name(label) for label in (0, *cohort.data_set.evaluated)]
    training = [read_cells(cohort, scan, options.slices_per_scan) for scan in cohort.fold.train]
    held_out = [read_cells(cohort, scan, options.slices_per_scan) for scan in cohort.fold.test]
    chosen = choose_training_cells(training, names, options.cells_per_class, options.seed)
    scored = np.concatenate([scan.labels[scan.scored] for scan in held_out])

    rows = []
    for candidate in candidates:
        runs: dict[tuple[str, str], list[ProbeScore]] = {}
        start = time.monotonic()
        for backbone in candidate.backbones():
            backbone.to(options.device)
            # In this order, because adapting overwrites what was saved.
            wanted = [own for own in BATCH_NORMS if own in options.batch_norm]
            for batch_norm in wanted if has_batch_norm(backbone) else [NO_BATCH_NORM]:
                scores = probe_backbone(
                    backbone, training, chosen, held_out, names, probes=options.probe, neighbours=options.neighbours,
                    batch_norm=batch_norm, stage=options.stage, seed=options.seed,
                )  # fmt: skip
                for probe, score in scores.items():
                    runs.setdefault((batch_norm, probe), []).append(score)
        logger.info("%s, %s: %.0f s", candidate.name, candidate.network.name, time.monotonic() - start)
        rows += [candidate_row(candidate, *conditions, found) for conditions, found in runs.items()]
    return {
        "dataset": cohort.data_set.name, "fold": options.fold,
        "training_scans": cohort.fold.train, "held_out_scans": cohort.fold.test,
        "training_slices": sum(len(scan.images) for scan in training),
        "held_out_slices": sum(len(scan.images) for scan in held_out),
        "training_cells_per_class": int(sum(cells.sum() for cells in chosen)) // len(names),
        "held_out_cells": {name: int((scored == index).sum()) for index, name in enumerate(names)},
        "stage": options.stage, "neighbours": options.neighbours, "seed": options.seed, "results": rows,
    }  # fmt: skip


def candidate_row(candidate: Candidate, batch_norm: str, probe: str, runs: Sequence[ProbeScore]) -> dict:
    """Scores of a candidate by one probe: means over its runs, and their standard deviation where there are several."""
    row: dict = {"weights": candidate.name, "network": candidate.network.name, "depth": candidate.network.depth}
    row["seeds"] = list(candidate.seeds)
    row |= {"batch_norm": batch_norm, "probe": probe}
    for kind in ("dice", "recall"):
        tables = [getattr(run, kind) for run in runs]
        row[kind] = {name: or_none(mean_of_defined(table[name] for table in tables)) for name in tables[0]}
    for kind in ("mean_dice", "balanced_accuracy"):
        values = [getattr(run, kind) for run in runs]
        row[kind] = or_none(mean_of_defined(values))
        row[f"{kind}_deviation"] = or_none(statistics.stdev(values)) if len(values) > 1 else None
    return row
