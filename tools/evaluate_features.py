"""Judge Stage 1 weights in minutes: k-NN and linear probe of frozen features on a processed Stage 2 folder.

Cells (8 x 8 pixels) of the fold's training scans are named by organ; scores are those of the fold's test scans.

Example: python tools/evaluate_features.py backbone.pth random --data data/CHAOST2/chaos_MR_T2_normalized \\
    --dataset CHAOST2 --random-seeds 3 --out features.json
"""

import argparse
import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from Stage1.files import printable
from Stage2.evaluation.probe_names import BATCH_NORMS, PROBES, STAGES


def table_text(results: Mapping) -> str:
    """The results as Markdown: what was compared, then a row for every candidate and probe."""
    from Stage2.reporting.tables import markdown_table, number

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
        network = row["network"] + (f", {len(row['seeds'])} seeds" if len(row["seeds"]) > 1 else "")
        means = [number(row[kind], row[f"{kind}_deviation"]) for kind in ("mean_dice", "balanced_accuracy")]
        conditions = [f"{row['weights']} ({network})", row["batch_norm"], row["probe"]]
        body.append([*conditions, *(number(row["dice"][organ]) for organ in organs), *means])
    header = ["weights", "batch norm", "probe", *organs, "mean Dice", "balanced accuracy"]
    return f"{head}\n\n{markdown_table(header, body)}"


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
    add("--random", action="store_true", help="also the untrained networks of the same kinds, as the word 'random'")
    add("--random-seeds", type=positive, default=1, metavar="N", help="average the untrained network over N seeds")
    add(
        "--depth",
        type=int,
        choices=(18, 50, 101),
        help="a ResNet of this depth as 'random' (default: the files' networks; alone, 101)",
    )
    add("--probe", nargs="+", choices=PROBES, default=list(PROBES), help="(default: both)")
    add("--neighbours", type=positive, default=20, metavar="K", help="of the k-NN probe (default 20)")
    add("--cells-per-class", type=positive, default=1000, metavar="N", help="training cells, at most (default 1000)")
    add("--slices-per-scan", type=positive, default=8, metavar="N", help="evenly spaced over the organs (default 8)")
    add(
        "--batch-norm",
        nargs="+",
        choices=BATCH_NORMS,
        default=list(BATCH_NORMS),
        help="running statistics: of the file, or of training slices (default: both, as neither is fair to all); "
        "networks without batch norm have one row",
    )
    add(
        "--stage",
        choices=tuple(STAGES),
        default="C5",
        help="of a ResNet: features to probe (default C5, the last, as Stage 2)",
    )
    add("--seed", type=int, default=1234, help="of the samples and of the (first) untrained network (default 1234)")
    add("--device", choices=("auto", "cpu", "cuda"), default="auto", help="auto: CUDA where there is one")
    add("--out", type=Path, metavar="FILE", help="also write everything as JSON")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    options = parse_arguments(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    try:
        if options.out is not None and options.out.is_dir():
            raise ValueError(f"{options.out} is a folder, expected the name of a file to write.")
        if not options.weights and not options.random:
            raise ValueError("found no weights to judge, expected a file or 'random'; name one.")
        import torch

        from Stage1.files import expect_writable, write_json
        from Stage2.evaluation.judge import evaluate

        if options.device == "auto":
            options.device = "cuda" if torch.cuda.is_available() else "cpu"
        if options.device == "cuda" and not torch.cuda.is_available():
            raise ValueError("--device cuda: found no CUDA device, expected one; choose auto or cpu.")
        if options.out is not None:
            expect_writable(options.out.parent)
        results = evaluate(options)
        if options.out is not None:
            write_json(options.out, results, indent=2)
    except (OSError, ValueError) as error:
        print(f"{Path(__file__).name}: error: {printable(error)}", file=sys.stderr)
        return 1
    print(printable(table_text(results)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
