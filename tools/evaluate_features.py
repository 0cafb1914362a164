"""Judge Stage 1 weights in minutes: k-NN and linear probe of frozen features on a processed Stage 2 folder.

Cells (8 x 8 pixels) of the fold's training scans are named by organ; scores are those of the fold's test scans.

Example: python tools/evaluate_features.py backbone.pth random --data data/CHAOST2/chaos_MR_T2_normalized \\
    --dataset CHAOST2 --random-seeds 3 --out features.json
"""

import argparse
import json
import logging
import math
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from Stage1.files import write_text
from Stage1.weights.backbones import backbone_weights
from Stage1.weights.checkpoints import read_checkpoint
from Stage2.datasets.catalog import get_dataset
from Stage2.datasets.cohort import Cohort
from Stage2.evaluation.cells import choose_training_cells, read_cells
from Stage2.evaluation.metrics import mean_of_defined
from Stage2.evaluation.probe import BATCH_NORMS, PROBES, STAGES, ProbeScore, probe_backbone
from Stage2.models.checkpoints import describe_mismatch
from Stage2.models.encoders import DilatedResNet
from Stage2.preparation.steps.superpixels import check_scans
from Stage2.reporting.tables import UNDEFINED, markdown_table

RANDOM = "random"
# Blocks of layer1 to layer4, and whether they are bottlenecks -> depth.
DEPTHS = {((2, 2, 2, 2), False): 18, ((3, 4, 6, 3), True): 50, ((3, 4, 23, 3), True): 101}
DEFAULT_DEPTH = 101  # the method's

logger = logging.getLogger("evaluate_features")


@dataclass(frozen=True)
class Candidate:
    """A row of the table: weights of a file, or untrained networks of some seeds."""

    name: str
    depth: int
    path: Path | None = None
    seeds: Sequence[int] = ()

    def backbones(self) -> Iterator[DilatedResNet]:
        """The networks whose scores are averaged, one at a time."""
        if self.path is not None:
            yield load_backbone(self.path, self.depth)
        for seed in self.seeds:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                yield DilatedResNet(f"dlfcn_res{self.depth}")


def read_weights(path: Path) -> dict[str, Tensor]:
    """Backbone weights of a Stage 1 checkpoint, a backbone file, or a Stage 2 snapshot, under torchvision's names."""
    content = read_checkpoint(path)
    state = content.get("state_dict", content)
    if isinstance(state, Mapping):
        content = {str(key).removeprefix("encoder."): value for key, value in state.items()}
    return backbone_weights(content, path)


def infer_depth(weights: Mapping[str, Tensor], path: Path) -> int:
    """Depth of the ResNet with these weights: 18, 50 or 101.

    Raises:
        ValueError: another ResNet.
    """
    blocks = tuple(len({key.split(".")[1] for key in weights if key.startswith(f"layer{n}.")}) for n in (1, 2, 3, 4))
    bottleneck = "layer1.0.conv3.weight" in weights
    if (blocks, bottleneck) not in DEPTHS:
        raise ValueError(
            f"found a network with {blocks} {'bottlenecks' if bottleneck else 'basic blocks'} in {path}, expected a "
            "ResNet-18, 50 or 101; give another file."
        )
    return DEPTHS[blocks, bottleneck]


def load_backbone(path: Path, depth: int) -> DilatedResNet:
    """A dilated ResNet with the weights of a file, every tensor of which must match."""
    backbone = DilatedResNet(f"dlfcn_res{depth}")
    own = backbone.state_dict()
    # Files older than BatchNorm's step counter are complete without it.
    counters = {key: value for key, value in own.items() if key.endswith("num_batches_tracked")}
    weights = counters | read_weights(path)
    mismatch = describe_mismatch(own, weights)
    if mismatch:
        raise ValueError(f"{path} does not match a ResNet-{depth} ({mismatch}); give another file.")
    backbone.load_state_dict(weights)
    return backbone


def list_candidates(
    names: Sequence[str], with_random: bool, depth: int | None, seeds: Sequence[int]
) -> list[Candidate]:
    """Rows of the table: every file once, then the untrained network of every depth among them (or of `depth`).

    Raises:
        FileNotFoundError, ValueError: a file holds no ResNet; all are loaded once, before anything is computed.
    """
    candidates = []
    for name in dict.fromkeys(names):
        if name != RANDOM:
            path = Path(name)
            found = infer_depth(read_weights(path), path)
            load_backbone(path, found)
            candidates.append(Candidate(name, found, path=path))
    if with_random or RANDOM in names:
        depths = {depth} if depth else {candidate.depth for candidate in candidates} or {DEFAULT_DEPTH}
        candidates += [Candidate(RANDOM, own, seeds=seeds) for own in sorted(depths)]
    if not candidates:
        raise ValueError("found no weights to judge, expected a file or 'random'; name one.")
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
    if not check_scans(folder, [*cohort.fold.train, *cohort.fold.test]):
        raise FileNotFoundError(f"{folder} has no label_<id>.nii.gz, which the probes learn from; add the labels.")
    return cohort


def evaluate(options: argparse.Namespace) -> dict:
    """Everything that the table and the JSON file say."""
    if options.out is not None and options.out.is_dir():
        raise ValueError(f"{options.out} is a folder, expected the name of a file to write.")
    cohort = open_cohort(options.data, options.dataset, options.fold)
    seeds = [options.seed + index for index in range(options.random_seeds)]
    candidates = list_candidates(options.weights, options.random, options.depth, seeds)
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
            for batch_norm in (own for own in BATCH_NORMS if own in options.batch_norm):
                scores = probe_backbone(
                    backbone,
                    training,
                    chosen,
                    held_out,
                    names,
                    probes=options.probe,
                    neighbours=options.neighbours,
                    batch_norm=batch_norm,
                    stage=options.stage,
                    seed=options.seed,
                )
                for probe, score in scores.items():
                    runs.setdefault((batch_norm, probe), []).append(score)
        logger.info("%s, ResNet-%d: %.0f s", candidate.name, candidate.depth, time.monotonic() - start)
        rows += [candidate_row(candidate, *conditions, found) for conditions, found in runs.items()]
    return {
        "dataset": cohort.data_set.name,
        "fold": options.fold,
        "training_scans": cohort.fold.train,
        "held_out_scans": cohort.fold.test,
        "training_slices": sum(len(scan.images) for scan in training),
        "held_out_slices": sum(len(scan.images) for scan in held_out),
        "training_cells_per_class": int(sum(cells.sum() for cells in chosen)) // len(names),
        "held_out_cells": {name: int((scored == index).sum()) for index, name in enumerate(names)},
        "stage": options.stage,
        "neighbours": options.neighbours,
        "seed": options.seed,
        "results": rows,
    }


def candidate_row(candidate: Candidate, batch_norm: str, probe: str, runs: Sequence[ProbeScore]) -> dict:
    """Scores of a candidate by one probe: means over its runs, and their standard deviation where there are several."""
    row: dict = {"weights": candidate.name, "depth": candidate.depth, "seeds": list(candidate.seeds)}
    row |= {"batch_norm": batch_norm, "probe": probe}
    for kind in ("dice", "recall"):
        tables = [getattr(run, kind) for run in runs]
        row[kind] = {name: or_none(mean_of_defined(table[name] for table in tables)) for name in tables[0]}
    for kind in ("mean_dice", "balanced_accuracy"):
        values = [getattr(run, kind) for run in runs]
        row[kind] = or_none(mean_of_defined(values))
        row[f"{kind}_deviation"] = or_none(statistics.stdev(values)) if len(values) > 1 else None
    return row


def or_none(value: float) -> float | None:
    """The value; None, which JSON has, for NaN, which it has not."""
    return None if math.isnan(value) else value


def table_text(results: Mapping) -> str:
    """The results as Markdown: what was compared, then a row for every candidate and probe."""
    organs = list(results["held_out_cells"])[1:]
    cells = ", ".join(f"{name} {count}" for name, count in results["held_out_cells"].items())
    head = (
        f"{results['dataset']}, fold {results['fold']}: {len(results['training_scans'])} training scans "
        f"({results['training_slices']} slices, {results['training_cells_per_class']} cells of every class), "
        f"{len(results['held_out_scans'])} held-out scans ({results['held_out_slices']} slices, cells: {cells}).\n"
        f"Features {results['stage']}, {results['neighbours']} neighbours, seed "
        f"{results['seed']}. Dice of cells; balanced accuracy by chance: {1 / (len(organs) + 1):.3f}."
    )
    body = []
    for row in results["results"]:
        network = f"ResNet-{row['depth']}" + (f", {len(row['seeds'])} seeds" if len(row["seeds"]) > 1 else "")
        means = [number(row[kind], row[f"{kind}_deviation"]) for kind in ("mean_dice", "balanced_accuracy")]
        conditions = [f"{row['weights']} ({network})", row["batch_norm"], row["probe"]]
        body.append([*conditions, *(number(row["dice"][organ]) for organ in organs), *means])
    header = ["weights", "batch norm", "probe", *organs, "mean Dice", "balanced accuracy"]
    return f"{head}\n\n{markdown_table(header, body)}"


def number(value: float | None, deviation: float | None = None) -> str:
    """Three digits, with the standard deviation where there is one."""
    if value is None:
        return UNDEFINED
    return f"{value:.3f}" if deviation is None else f"{value:.3f} ± {deviation:.3f}"


def write_json(path: Path, content: Mapping) -> None:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(content, indent=2) + "\n")


def positive(text: str) -> int:
    """A whole number, 1 or more."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number of 1 or more")
    return int(text)


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("weights", nargs="*", metavar="WEIGHTS", help="backbone file, Stage 1 checkpoint or Stage 2 snapshot; 'random'")
    add("--data", type=Path, required=True, metavar="FOLDER", help="processed folder with image_<id>, label_<id>")
    add("--dataset", required=True, help="what the folder is: CHAOST2, SABS or FILE.yaml")
    add("--fold", type=int, default=0, help="whose test scans are held out (default 0)")
    add("--random", action="store_true", help="also the untrained network of the same depth, as the word 'random'")
    add("--random-seeds", type=positive, default=1, metavar="N", help="average the untrained network over N seeds")
    add("--depth", type=int, choices=(18, 50, 101), help="of 'random' (default: that of the files; alone, 101)")
    add("--probe", nargs="+", choices=PROBES, default=list(PROBES), help="(default: both)")
    add("--neighbours", type=positive, default=20, metavar="K", help="of the k-NN probe (default 20)")
    add("--cells-per-class", type=positive, default=1000, metavar="N", help="training cells, at most (default 1000)")
    add("--slices-per-scan", type=positive, default=8, metavar="N", help="evenly spaced over the organs (default 8)")
    add(
        "--batch-norm",
        nargs="+",
        choices=BATCH_NORMS,
        default=list(BATCH_NORMS),
        help="running statistics: of the file, or of training slices (default: both, as neither is fair to all)",
    )
    add("--stage", choices=tuple(STAGES), default="C5", help="features to probe (default C5, as Stage 2)")
    add("--seed", type=int, default=1234, help="of the samples and of the (first) untrained network (default 1234)")
    add("--device", choices=("auto", "cpu", "cuda"), default="auto", help="auto: CUDA where there is one")
    add("--out", type=Path, metavar="FILE", help="also write everything as JSON")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    options = parse_arguments(argv)
    if options.device == "auto":
        options.device = "cuda" if torch.cuda.is_available() else "cpu"
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    try:
        if options.device == "cuda" and not torch.cuda.is_available():
            raise ValueError("--device cuda: found no CUDA device, expected one; choose auto or cpu.")
        results = evaluate(options)
        if options.out is not None:
            write_json(options.out, results)
    except (OSError, ValueError) as error:
        print(f"{Path(__file__).name}: error: {error}", file=sys.stderr)
        return 1
    print(table_text(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
