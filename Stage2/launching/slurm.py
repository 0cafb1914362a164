"""An experiment as a Slurm job array: one task for each fold, each of them a run of the driver on its node."""

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

TASK = "SLURM_ARRAY_TASK_ID"
SECONDS_TO_STOP = 120  # before the time limit, SIGTERM: the run keeps its state


def job_script(driver: Sequence[str]) -> str:
    """Text of the batch script.

    Args:
        driver: command line of the driver for the fold that the task's number is; `--folds` and it are appended.
    """
    return (
        "#!/usr/bin/env bash\n"
        "# One fold of an experiment: the task's number. What is finished is skipped, what is interrupted goes on.\n"
        f'exec {shlex.join(driver)} --folds "${TASK}"\n'
    )


def sbatch_command(
    script: Path, job_name: str, folds: Sequence[int], cores: int, arguments: str, at_a_time: int | None
) -> list[str]:
    """Command line that submits the array.

    Args:
        script: batch script.
        job_name: name of the job.
        folds: the tasks' numbers.
        cores: of each task.
        arguments: further arguments of sbatch, as a shell would read them; they win over the defaults here.
        at_a_time: tasks that may run at a time; None: as many as Slurm lets.
    """
    limit = "" if at_a_time is None else f"%{at_a_time}"
    return [
        "sbatch",
        "--parsable",
        f"--array={','.join(map(str, folds))}{limit}",
        f"--job-name={job_name}",
        f"--output={script.with_suffix('')}_%a.slurm.log",
        "--open-mode=append",
        "--requeue",
        f"--signal=B:TERM@{SECONDS_TO_STOP}",
        "--gres=gpu:1",
        f"--cpus-per-task={cores}",
        *shlex.split(arguments),
        str(script),
    ]


def submit(script: Path, text: str, command: Sequence[str]) -> str:
    """Write the batch script, submit it and return the job's number.

    Raises:
        FileNotFoundError: there is no Slurm here.
        ValueError: Slurm refused.
    """
    if shutil.which(command[0]) is None:
        raise FileNotFoundError(
            "LAUNCHER=slurm: there is no sbatch on this machine; run on a login node of a Slurm cluster, or leave "
            "LAUNCHER out."
        )
    script.parent.mkdir(parents=True, exist_ok=True)
    script.write_text(text)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_ARRAY_")}
    done = subprocess.run(list(command), capture_output=True, text=True, env=environment)
    number = re.match(r"(\d+)(;|$)", done.stdout.strip())
    if done.returncode != 0 or number is None:
        said = (done.stderr or done.stdout).strip().replace("\n", " ") or "nothing"
        raise ValueError(f"sbatch refused the job (status {done.returncode}): {said}; correct SBATCH_ARGS.")
    return number[1]
