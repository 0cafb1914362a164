"""The graph as a Slurm job array by submitit: one task for each fold, which runs the fold's steps one after another."""

import logging
import shlex
import shutil
import signal
from collections.abc import Container, Sequence
from pathlib import Path
from typing import Any

from Stage2.launching.graph import Step, run_graph
from Stage2.launching.launchers import SerialLauncher

HOURS = 24  # of a task, unless told otherwise; it queues again where it needs more
SECONDS_TO_STOP = 150  # before the end a task is told, so that its run keeps its state
REQUEUES = 1000
TOLD_BY = signal.SIGUSR2  # the signal that submitit asks Slurm for

logger = logging.getLogger(__name__)


class FoldTask:
    """Runs the steps of a fold on the node that it comes to; told to end, it keeps the state and queues again.

    Args:
        steps, root: of one fold, in order, and of the repository.
    """

    def __init__(self, steps: Sequence[Step], root: Path):
        self.steps, self.root, self.told = steps, root, False

    def __call__(self) -> None:
        logging.basicConfig(level=logging.INFO, format="%(message)s")
        try:
            run_graph(self.steps, SerialLauncher(self.root))
        except KeyboardInterrupt:  # of `checkpoint`; what was at work has kept its state
            signal.raise_signal(TOLD_BY)

    def checkpoint(self) -> Any:
        """What submitit queues in this task's place when the time is over; first, what is at work is interrupted."""
        from submitit.helpers import DelayedSubmission

        if not self.told:
            self.told = True
            raise KeyboardInterrupt
        return DelayedSubmission(FoldTask(self.steps, self.root))


def sbatch_options(text: str) -> dict[str, Any]:
    """Options of sbatch, as a shell would read them, by name; a ValueError for one that is not written out."""
    options, name = {}, ""
    for word in shlex.split(text):
        if word.startswith("--"):
            name, has_value, value = word[2:].partition("=")
            options[name] = value if has_value else True
        elif options.get(name) is not True or word.startswith("-"):
            raise ValueError(f"SBATCH_ARGS holds {word}; write options out, as in --partition=gpu --time=12:00:00.")
        else:
            options[name] = word
    return options


def submit(
    steps: Sequence[Step], left: Container[Step], root: Path, folder: Path, name: str, sbatch_args: str = "",
    at_a_time: int | None = None, dry_run: bool = False,
) -> None:  # fmt: skip
    """Submit the folds in which a step is left as a job array or, in a dry run, tell what sbatch would be told.

    Args:
        steps, left: of the graph, and those that are not finished.
        root, folder: of the repository; for submitit's files and the logs of tasks.
        name, sbatch_args, at_a_time: of the job, further options of sbatch, and its tasks at a time (None: no limit).

    Raises:
        FileNotFoundError, ValueError: there is no Slurm here, or no submitit, or Slurm refused.
    """
    chains = {}
    for step in steps:
        chains[step] = [*chains.pop(step.after, []), step]
    tasks = [FoldTask(chain, root) for chain in chains.values() if any(step in left for step in chain)]
    cores = 1 + max(step.experiment.parsed.get("num_workers", 0) for step in steps)
    options = {"job-name": name, "gres": "gpu:1", "time": f"{HOURS}:00:00", "requeue": True, "cpus-per-task": cores}
    options |= sbatch_options(sbatch_args)
    for number, task in enumerate(tasks):
        logger.info("task %d: %s", number, ", then ".join(step.title for step in task.steps))
    if dry_run:
        words = [f"--{name}" if value is True else f"--{name}={value}" for name, value in options.items()]
        logger.info("%s", shlex.join(["sbatch", f"--array=0-{len(tasks) - 1}%{at_a_time or len(tasks)}", *words]))
        return
    try:
        import submitit
        from submitit.core.utils import FailedJobError
    except ImportError:
        raise ValueError("submitit is not installed; run bash tools/setup.sh --cluster, or LAUNCHER=serial.") from None
    if not (shutil.which("sbatch") and shutil.which("srun")):
        raise FileNotFoundError("LAUNCHER=slurm: there is no sbatch on this machine; run on a login node of Slurm.")
    executor = submitit.SlurmExecutor(folder, max_num_timeout=REQUEUES)
    told = {"time": 60 * HOURS, "signal_delay_s": SECONDS_TO_STOP, "wckey": None, "additional_parameters": options}
    executor.update_parameters(array_parallelism=at_a_time or len(tasks), **told)
    try:
        number = executor.submit_array(tasks)[0].job_id.partition("_")[0]
    except FailedJobError as error:
        raise ValueError(f"sbatch refused the job: {' '.join(str(error).split())}; correct SBATCH_ARGS.") from error
    logger.info("job %s submitted: %d task(s), with logs in %s; squeue shows them", number, len(tasks), folder)
