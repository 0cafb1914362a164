"""The graph as a Slurm job array by submitit: one task for each fold, which runs the fold's steps one after another."""

import logging
import shlex
import shutil
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from Stage2.launching.graph import Step, run_graph
from Stage2.launching.launchers import SerialLauncher

if TYPE_CHECKING:
    from submitit.helpers import DelayedSubmission

HOURS = 24  # of a task, unless told otherwise; it queues again where it needs more
SECONDS_TO_STOP = 150  # before the end a task is told, so that its run keeps its state
REQUEUES = 1000
TOLD_BY = signal.SIGUSR2  # the signal that submitit asks Slurm for


class FoldTask:
    """Runs the steps of a fold on the node that it comes to; told to end, it keeps the state and queues again.

    Args:
        steps: of one fold, in order.
        root: of the repository.
    """

    def __init__(self, steps: Sequence[Step], root: Path):
        self.steps, self.root, self.told = steps, root, False

    def __call__(self) -> None:
        logging.basicConfig(level=logging.INFO, format="%(message)s")
        try:
            run_graph(self.steps, SerialLauncher(self.root))
        except KeyboardInterrupt:  # of `checkpoint`; what was at work has kept its state
            signal.raise_signal(TOLD_BY)

    def checkpoint(self) -> "DelayedSubmission":
        """What submitit queues in this task's place when the time is over; first, what is at work is interrupted."""
        from submitit.helpers import DelayedSubmission

        if not self.told:
            self.told = True
            raise KeyboardInterrupt
        return DelayedSubmission(FoldTask(self.steps, self.root))


def sbatch_options(text: str) -> dict[str, Any]:
    """Options of sbatch, as a shell would read them, by name; True for one without a value.

    Raises:
        ValueError: one is not written out.
    """
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


def submit(tasks: Sequence[FoldTask], folder: Path, options: Mapping[str, Any], at_a_time: int) -> str:
    """Submit tasks as an array, with submitit's files in a folder and these options of sbatch; returns its number.

    Raises:
        ValueError: submitit is not installed, or Slurm refused.
        FileNotFoundError: there is no Slurm here.
    """
    try:
        import submitit
        from submitit.core.utils import FailedJobError
    except ImportError:
        raise ValueError("submitit is not installed; run bash tools/setup.sh --cluster, or LAUNCHER=serial.") from None
    if not (shutil.which("sbatch") and shutil.which("srun")):
        raise FileNotFoundError(
            "LAUNCHER=slurm: there is no sbatch on this machine; run on a login node of a Slurm cluster, or leave "
            "LAUNCHER out."
        )
    executor = submitit.SlurmExecutor(folder, max_num_timeout=REQUEUES)
    executor.update_parameters(
        time=60 * HOURS, array_parallelism=at_a_time, signal_delay_s=SECONDS_TO_STOP, wckey=None,
        additional_parameters=dict(options),
    )  # fmt: skip
    try:
        jobs = executor.submit_array(tasks)
    except FailedJobError as error:
        said = " ".join(str(error).split()) or "nothing"
        raise ValueError(f"sbatch refused the job: {said}; correct SBATCH_ARGS.") from error
    return jobs[0].job_id.partition("_")[0]
