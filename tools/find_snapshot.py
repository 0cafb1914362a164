"""Print the path of the snapshot that an experiment's run folders hold: of a given step, or chosen by a rule."""

import argparse
import sys

from Stage2.datasets.catalog import run_name
from Stage2.run_folders.layout import experiment_folder
from Stage2.run_folders.selection import LAST, RULES, choose_snapshot, snapshot_of_step


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--log-dir", required=True, help="folder of all experiments (path.log_dir)")
    parser.add_argument("--exp-prefix", required=True, help="exp_prefix of the training run, as train_vfold0")
    parser.add_argument("--dataset", required=True, help="as in the training run: CHAOST2_Superpix, FILE.yaml ...")
    parser.add_argument("--label-sets", required=True, type=int, help="label set of the training run")
    parser.add_argument("--shots", type=int, default=1, help="number of support scans (default 1)")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--step", type=int, help="step of the snapshot")
    which.add_argument(
        "--select",
        choices=RULES,
        default=LAST,
        help="last (default), the best on training scans (eval_every), or the best in test scans (as published)",
    )
    parser.add_argument("--why", action="store_true", help="say on standard error how the snapshot was chosen")
    arguments = parser.parse_args()
    try:
        dataset = run_name(arguments.dataset)
        folder = experiment_folder(
            arguments.log_dir, arguments.exp_prefix, dataset, arguments.label_sets, arguments.shots
        )
        choice = (
            choose_snapshot(folder, arguments.select)
            if arguments.step is None
            else snapshot_of_step(folder, arguments.step)
        )
    except (FileNotFoundError, ValueError) as error:
        print(f"find_snapshot.py: {error}", file=sys.stderr)
        return 1
    print(choice.snapshot)
    if arguments.why:
        print(choice, file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
