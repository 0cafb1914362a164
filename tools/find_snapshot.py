"""Print the path of the snapshot that an experiment's run folders hold: of a given step, or chosen by a rule."""

import argparse
import sys
from pathlib import Path

from Stage2.datasets.catalog import run_name
from Stage2.run_folder import experiment_folder, latest_snapshot, list_runs, snapshot_path
from Stage2.selection import LAST, RULES, select_snapshot


def find_snapshot(folder: Path, step: int | None = None, rule: str = LAST) -> Path:
    """Snapshot of an experiment folder: of the latest run that has it.

    Args:
        folder: experiment folder, which holds numbered run folders.
        step: the step wanted; None: the one that the rule chooses.
        rule: see `Stage2.selection.select_snapshot`.

    Raises:
        FileNotFoundError: no run holds such a snapshot.
    """
    if step is None:
        return latest_snapshot(folder) if rule == LAST else select_snapshot(folder, rule)
    for run in reversed(list_runs(folder)):
        path = snapshot_path(run, step)
        if path.is_file():
            return path
    raise FileNotFoundError(f"no run in {folder} has a snapshot of step {step}; train longer or name another step")


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
        "--select", choices=RULES, default=LAST, help="last (default), or the best on training scans (eval_every)"
    )
    arguments = parser.parse_args()
    try:
        dataset = run_name(arguments.dataset)
        folder = experiment_folder(
            arguments.log_dir, arguments.exp_prefix, dataset, arguments.label_sets, arguments.shots
        )
        print(find_snapshot(folder, arguments.step, arguments.select))
    except (FileNotFoundError, ValueError) as error:
        print(f"find_snapshot.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
