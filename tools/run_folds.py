"""Run experiments over their folds: skip what is finished, resume what is not. examples/run_experiment.sh calls it."""

import argparse
import logging
import shlex
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import fields
from pathlib import Path

from Stage1.cluster import ray_cluster
from Stage1.command_line import Console, OneLineParser, positive
from Stage1.commands import interrupted_by_signals
from Stage1.files import printable
from Stage2.datasets.folds import read_folds
from Stage2.launching.graph import RunFailed, Step, build_graph, run_graph
from Stage2.launching.launchers import RayLauncher, SerialLauncher, entry_command
from Stage2.launching.plan import ExperimentLaunch
from Stage2.launching.progress import Status
from Stage2.launching.slurm import submit
from Stage2.run_folders.modes import MODES
from Stage2.run_folders.selection import LAST, RULES
from Stage2.runs.plain_config import merge, read_config_words
from Stage2.runs.settings import DEFAULTS, check_config, with_protocol_defaults

ROOT = Path(__file__).resolve().parents[1]
AND = "--and"  # between experiments, each with its own options; an experiment follows those before it in its folder
CHOSEN = {"eval_fold": "ALL_EV", "exp_prefix": "RUN_NAME", "reload_model_path": "RELOAD", "resume": "RESTART=1"}
logger = logging.getLogger("run_folds")


def build_parser() -> argparse.ArgumentParser:
    parser = OneLineParser(description=__doc__, epilog=f"{AND} separates experiments; the first says how all run.")
    add = parser.add_argument
    add("mode", choices=MODES, help="what is run on every fold")
    add("settings", nargs="+", metavar="key=value", help="for the entry point; needs dataset, label_sets, path.log_dir")
    add("--folds", default="all", help="numbers separated by spaces, or all (default)")
    add("--logs", type=Path, required=True, help="folder for console logs")
    add("--label", default="", help="begins the titles of its runs")
    add("--run-name", dest="name", help="stands for the mode's name in run folders (ft_train ...)")
    which = parser.add_mutually_exclusive_group().add_argument
    which("--reload", help="snapshot for every fold; none: the untrained network")
    which("--steps", type=numbers, default=(), dest="snapshot_steps", help="snapshots of these steps")
    which("--select", choices=RULES, default=LAST, help="how a fold's snapshot is chosen (default last)")
    which("--every-snapshot", action="store_true", help="test all snapshots of each fold's latest run")
    add("--restart", action="store_true", help="also run what is finished, and resume nothing")
    add("--gpus", default="", help="GPUs of this machine to use, separated by spaces")
    add("--jobs-per-gpu", type=positive, default=1, help="runs at a time on each (default 1)")
    launchers = ("local", "serial", "ray", "slurm")
    add("--launcher", choices=launchers, default="local", help="local (default): ray for several at a time, or serial")
    add("--sbatch-args", default="", help="further arguments of sbatch")
    add("--at-a-time", type=positive, help="Slurm tasks at a time (default: no limit)")
    add("--dry-run", action="store_true", help="print the graph of the commands and run nothing")
    return parser


def numbers(text: str) -> list[int]:
    return list(dict.fromkeys(map(positive, text.split())))


def main(words: Sequence[str] | None = None) -> int:
    parts = [[]]
    for word in sys.argv[1:] if words is None else words:
        parts.append([]) if word == AND else parts[-1].append(word)
    given = [build_parser().parse_args(part) for part in parts]
    name = given[0].mode if len(given) == 1 else "graph"
    logging.basicConfig(level=logging.INFO, force=True, handlers=[Console(f"[{name} %(asctime)s] %(message)s", "%X")])
    try:
        experiments = [experiment_of(own) for own in given]
        folds = [read_folds(own.folds, one.parsed["dataset"]) for own, one in zip(given, experiments, strict=True)]
        return start(build_graph(zip(experiments, folds, strict=True)), given[0])
    except (OSError, ValueError, RunFailed) as error:
        print(f"run_folds.py: {error}", file=sys.stderr)
        return getattr(error, "status", 1)


def experiment_of(arguments: argparse.Namespace) -> ExperimentLaunch:
    """What is to run; raises a ValueError where settings are missing, wrong, or chosen here for every run."""
    given = {part.name: getattr(arguments, part.name) for part in fields(ExperimentLaunch) if part.init}
    experiment = ExperimentLaunch(**given)
    for key, value in experiment.parsed.items():
        if key in CHOSEN and (experiment.kind.source or key != "reload_model_path"):  # a training may start from any
            raise ValueError(f"{key}={value} is chosen for each run; set {CHOSEN[key]} instead.")
    check_config(merge(DEFAULTS, with_protocol_defaults(read_config_words(experiment.settings))))
    needed = ["dataset", "label_sets", "path.log_dir", *(["n_steps"] if experiment.kind.trains else [])]
    if missing := [key for key in needed if key not in experiment.parsed]:
        raise ValueError(f"{', '.join(missing)} must be among the settings; give key=value.")
    if experiment.kind.trains and len(experiment.snapshot_steps) > 1:
        raise ValueError(f"{arguments.mode} starts from one snapshot; SNAPSHOT_STEP names {experiment.snapshot_steps}.")
    return experiment


def start(steps: Sequence[Step], how: argparse.Namespace) -> int:
    """Tell what there is to do, and run, submit or print it; returns the exit status."""
    first, gpus = steps[0].experiment, how.gpus.split()
    what = "graph" if first.label else f"{first.parsed['dataset']}, label set {first.parsed['label_sets']}"
    spread = len(gpus) > 1 or how.jobs_per_gpu > 1
    launcher = ("ray" if spread else "serial") if how.launcher == "local" else how.launcher
    if launcher == "serial" and spread:
        raise ValueError("LAUNCHER=serial runs one at a time; name one GPU, or LAUNCHER=ray to spread the runs.")
    # on Slurm, a task chooses its snapshot when it starts: the run that makes it may still be in the queue
    tolerant = how.dry_run or launcher == "slurm"
    left = {}
    for step in steps:
        for run in step.runs(tolerant or step.after is not None):
            if run.finished:
                logger.info("%s, %s: finished: %s", what, run.title, run.progress.run)
                continue
            if run.progress.note:
                logger.info("%s, %s: a new run, because %s", what, run.title, run.progress.note)
            left[run] = step
    if not left:
        logger.info("%s: nothing to do (RESTART=1 runs it again)", what)
        return 0
    resumed = sum(run.progress.status is Status.INTERRUPTED for run in left)
    logger.info("%s: %d run(s), %d of them to resume; launcher %s", what, len(left), resumed, launcher)
    if how.dry_run:
        for run, step in left.items():
            after = f", after {step.after.title}" if step.after else ""
            logger.info("%s, %s%s: %s; log %s", what, run.title, after, run.start, run.log)
            print(printable(shlex.join(entry_command(ROOT, step.experiment, run))))
    if launcher == "slurm":
        name, folder = f"{first.run_name}_{how.logs.name}", how.logs / "slurm"
        submit(steps, set(left.values()), ROOT, folder, name, how.sbatch_args, how.at_a_time, how.dry_run)
    if how.dry_run or launcher == "slurm":
        return 0
    with ExitStack() as stack:
        ray = stack.enter_context(ray_cluster(gpus)) if launcher == "ray" else None
        stack.enter_context(interrupted_by_signals())  # after Ray, which has handlers of its own
        device = first.parsed.get("device", "auto")
        where = RayLauncher(ray, ROOT, how.jobs_per_gpu, device) if ray else SerialLauncher(ROOT, *gpus)
        try:
            run_graph(steps, where)
        except KeyboardInterrupt as error:
            logger.info("%s: interrupted; the same command goes on from here", what)
            return 128 + (error.args or [2])[0]  # of Ray, it tells no number
    logger.info("%s: done", what)
    return 0


if __name__ == "__main__":
    sys.exit(main())
