"""Run an experiment over its folds: skip what is finished, resume what is not. examples/run_experiment.sh calls it."""

import argparse
import logging
import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import NoReturn

from Stage2.launching.local import make_slots, run_on_slots
from Stage2.launching.plan import MODES, ExperimentLaunch, FoldRun, plan, read_folds
from Stage2.launching.progress import Status
from Stage2.launching.slurm import job_script, sbatch_command, submit
from Stage2.run_folders.selection import LAST, RULES

ROOT = Path(__file__).resolve().parents[1]
logger = logging.getLogger("run_folds")


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"run_folds.py: {message}\n")


def build_parser() -> argparse.ArgumentParser:
    parser = Parser(description=__doc__)
    parser.add_argument("mode", choices=MODES, help="what is run on every fold")
    parser.add_argument(
        "settings", nargs="+", metavar="key=value", help="for the entry point; dataset, label_sets, path.log_dir needed"
    )
    parser.add_argument("--folds", default="all", help="numbers separated by spaces, or all (default)")
    parser.add_argument("--logs", type=Path, required=True, help="folder for console logs")
    parser.add_argument("--run-name", dest="name", help="stands for the mode's name in run folders (ft_train ...)")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--reload", help="snapshot for every fold; none: the untrained network")
    which.add_argument("--steps", type=numbers, default=(), dest="snapshot_steps", help="snapshots of these steps")
    which.add_argument("--select", choices=RULES, default=LAST, help="how a fold's snapshot is chosen (default last)")
    which.add_argument("--every-snapshot", action="store_true", help="test all snapshots of each fold's latest run")
    parser.add_argument("--restart", action="store_true", help="also run what is finished, and resume nothing")
    parser.add_argument("--gpus", default="", help="GPUs to spread the runs over, separated by spaces")
    parser.add_argument("--jobs-per-gpu", type=positive, default=1, help="runs at a time on each (default 1)")
    parser.add_argument("--launcher", choices=("local", "slurm"), default="local", help="where it runs (default local)")
    parser.add_argument("--sbatch-args", default="", help="further arguments of sbatch")
    parser.add_argument("--at-a-time", type=positive, help="Slurm tasks at a time (default: no limit)")
    parser.add_argument("--dry-run", action="store_true", help="print the commands and run nothing")
    return parser


def positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number of 1 or more")
    return int(text)


def numbers(text: str) -> list[int]:
    return [positive(word) for word in text.split()]


def main(words: Sequence[str] | None = None) -> int:
    arguments = build_parser().parse_args(words)
    show_log(arguments.mode)
    try:
        names = [part.name for part in fields(ExperimentLaunch) if part.init]
        experiment = ExperimentLaunch(**{name: getattr(arguments, name) for name in names})
        missing = [key for key in ("dataset", "label_sets", "path.log_dir") if key not in experiment.parsed]
        if experiment.kind.trains and "n_steps" not in experiment.parsed:
            missing.append("n_steps")
        if experiment.kind.trains and len(experiment.snapshot_steps) > 1:
            steps = arguments.snapshot_steps
            raise ValueError(f"{arguments.mode} starts from one snapshot; SNAPSHOT_STEP names {steps}.")
        if missing:
            raise ValueError(f"{', '.join(missing)} must be among the settings; give key=value.")
        folds = read_folds(arguments.folds, experiment.parsed["dataset"])
        # on Slurm, a task chooses its snapshot when it starts: the run that makes it may still be in the queue
        jobs = plan(experiment, folds, tolerant=arguments.dry_run or arguments.launcher == "slurm")
        return start(experiment, jobs, arguments)
    except (OSError, ValueError) as error:
        print(f"run_folds.py: {error}", file=sys.stderr)
        return 1


def start(experiment: ExperimentLaunch, jobs: Sequence[FoldRun], arguments: argparse.Namespace) -> int:
    """Tell what there is to do, and run, submit or print it."""
    settings = experiment.parsed
    what = f"{settings['dataset']}, label set {settings['label_sets']}"
    for job in jobs:
        if job.finished:
            logger.info("%s, %s: finished: %s", what, job.title, job.progress.run)
        elif job.progress.note:
            logger.info("%s, %s: a new run, because %s", what, job.title, job.progress.note)
    left = [job for job in jobs if not job.finished]
    if not left:
        logger.info("%s: nothing to do (RESTART=1 runs it again)", what)
        return 0
    if arguments.launcher == "slurm":
        return submit_array(experiment, left, arguments)
    slots = make_slots(arguments.gpus.split(), arguments.jobs_per_gpu)
    devices = sorted({slot.label for slot in slots if slot.label})
    resumed = sum(job.progress.status is Status.INTERRUPTED for job in left)
    logger.info(
        "%s: %d run(s), %d of them to resume; %d at a time%s",
        what, len(left), resumed, len(slots), f" over {', '.join(devices)}" if devices else "",
    )  # fmt: skip
    if arguments.dry_run:
        for job in left:
            logger.info("%s, %s: %s; log %s", what, job.title, job.start, job.log)
            print(shlex.join(entry_command(experiment, job)))
        return 0
    status = run_on_slots(left, lambda job: entry_command(experiment, job), slots)
    if status == 0:
        logger.info("%s: done", what)
    elif status > 128:
        logger.info("%s: interrupted; the same command goes on from here", what)
    return status


def entry_command(experiment: ExperimentLaunch, job: FoldRun) -> list[str]:
    """Command line of one run."""
    return [sys.executable, str(ROOT / "Stage2" / experiment.kind.entry), "with", *job.words]


def submit_array(experiment: ExperimentLaunch, jobs: Sequence[FoldRun], arguments: argparse.Namespace) -> int:
    """Submit the folds of the jobs as a job array, or print it."""
    driver = [sys.executable, str(Path(__file__).resolve()), "--logs", str(arguments.logs)]
    steps = " ".join(map(str, arguments.snapshot_steps))
    select = None if arguments.select == LAST else arguments.select
    valued = {"run-name": arguments.name, "reload": arguments.reload, "steps": steps, "select": select}
    driver += [word for option, value in valued.items() if value for word in (f"--{option}", value)]
    driver += [f"--{flag}" for flag in ("every-snapshot", "restart") if getattr(arguments, flag.replace("-", "_"))]
    text = job_script([*driver, arguments.mode, *arguments.settings])
    first = jobs[0]
    script = first.log.with_name(f"{first.log.name.split('_fold')[0]}.slurm.sh")
    folds = sorted({job.fold for job in jobs})
    name = f"{experiment.run_name}_{arguments.logs.name}"
    cores = 1 + experiment.parsed.get("num_workers", 0)
    command = sbatch_command(script, name, folds, cores, arguments.sbatch_args, arguments.at_a_time)
    if arguments.dry_run:
        logger.info("fold(s) %s as the tasks of a Slurm array, by the script below", " ".join(map(str, folds)))
        print(shlex.join(command))
        print(text, end="")
        return 0
    number = submit(script, text, command)
    logger.info("job %s submitted: fold(s) %s; squeue -j %s shows it", number, " ".join(map(str, folds)), number)
    logger.info("logs: %s, and those of the tasks beside it", first.log)
    return 0


class Console(logging.StreamHandler):
    """Falls silent where nobody listens any more: Ctrl-C ends the `| tee` behind the driver before it."""

    def handleError(self, record: logging.LogRecord) -> None:
        if isinstance(sys.exc_info()[1], BrokenPipeError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        else:
            super().handleError(record)


def show_log(mode: str) -> None:
    """What the driver tells goes to standard output, what went wrong to standard error."""
    output = Console(sys.stdout)
    output.addFilter(lambda record: record.levelno < logging.ERROR)
    output.setFormatter(logging.Formatter(f"[{mode} %(asctime)s] %(message)s", "%H:%M:%S"))
    errors = logging.StreamHandler(sys.stderr)
    errors.setLevel(logging.ERROR)
    errors.setFormatter(logging.Formatter("run_folds.py: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[output, errors], force=True)


if __name__ == "__main__":
    sys.exit(main())
