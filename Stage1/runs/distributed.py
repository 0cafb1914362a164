"""The process group of a run: who started it, joining it on GPUs or CPUs, leaving it, and telling what broke it."""

import os
import socket
import subprocess
import sys
from datetime import timedelta

import torch
from torch import distributed
from torch.distributed.elastic.multiprocessing.errors import get_error_handler

from Stage1.files import printable
from Stage1.processes import end_with_parent

NEEDED = {"none": (), "pytorch": ("RANK", "WORLD_SIZE", "LOCAL_RANK"), "slurm": ("SLURM_PROCID", "SLURM_NTASKS")}
DEFAULT_PORT = 29500
JOIN_SECONDS = 300  # how long processes wait for each other at the start; JOIN_TIMEOUT changes it
LOST_ANOTHER = 3  # exit status of a process that was fine until another one was gone
EXPECTED = (ValueError, OSError)  # mistakes in the input and disks that are full, said in one sentence


def processes(launcher: str) -> int:
    """Number of processes that the launcher started: 1 without one."""
    return 1 if launcher == "none" else int(os.environ["WORLD_SIZE" if launcher == "pytorch" else "SLURM_NTASKS"])


def rank(launcher: str) -> int:
    """This process's place among the launcher's processes: 0 without one, whatever is in the environment."""
    return 0 if launcher == "none" else int(os.environ.get("RANK" if launcher == "pytorch" else "SLURM_PROCID", "0"))


def join_seconds() -> int:
    """Seconds that processes wait for each other when a run starts."""
    return int(os.environ.get("JOIN_TIMEOUT", JOIN_SECONDS))


def check_launcher(launcher: str) -> None:
    """Raises a ValueError if the launcher's environment is not there."""
    missing = [name for name in NEEDED[launcher] if name not in os.environ]
    if missing:
        raise ValueError(
            f"found no {', '.join(missing)} in the environment, expected them from the launcher {launcher}; start with "
            f"tools/{'dist_train.sh' if launcher == 'pytorch' else 'srun_train.sh (srun)'} or use --launcher none"
        )


def check_gpus(processes_here: int) -> None:
    """Raises a ValueError if a machine with GPUs has fewer of them than processes."""
    gpus = torch.cuda.device_count()
    if 0 < gpus < processes_here:
        raise ValueError(
            f"found {gpus} GPUs for {processes_here} processes on this machine, expected one for each; start "
            f"{gpus} processes, or hide the GPUs with CUDA_VISIBLE_DEVICES= to run on the CPU"
        )


def join_group(launcher: str, backend: str = "nccl", timeout: float = 1800) -> None:
    """Joins the group of a launcher's processes: with ``backend`` on GPUs, with gloo on CPUs.

    MMEngine's launchers need a GPU and wait for 30 minutes; with a group already there its Runner does not start one.

    Args:
        launcher: "none" (nothing is joined), "pytorch" or "slurm".
        backend: for GPUs.
        timeout: seconds that a process waits for another one in the middle of the run.

    Raises:
        ValueError: too few GPUs, or the processes cannot reach each other.
    """
    if launcher == "none":
        return
    if launcher == "slurm":
        take_slurm_environment()
    elif "TORCHELASTIC_RUN_ID" in os.environ:
        end_with_parent()  # or it would train on, unseen, after its launcher was killed
    local_rank = int(os.environ["LOCAL_RANK"])
    check_gpus(local_rank + 1)
    if torch.cuda.is_available():
        torch.cuda.set_device(local_rank)
    address, port = os.environ.get("MASTER_ADDR", "?"), os.environ.get("MASTER_PORT", "?")
    try:
        check_address(address)
        store, own_rank, world = next(distributed.rendezvous("env://", timeout=timedelta(seconds=join_seconds())))
        distributed.init_process_group(
            backend if torch.cuda.is_available() else "gloo",
            store=store, rank=own_rank, world_size=world, timeout=timedelta(seconds=timeout),
        )  # fmt: skip
    except distributed.DistError as error:
        raise ValueError(explain(error, address, port)) from error


def take_slurm_environment() -> None:
    """Sets what torch needs (RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT) from what srun has set."""
    job = os.environ
    job["RANK"], job["WORLD_SIZE"] = job["SLURM_PROCID"], job["SLURM_NTASKS"]
    job["LOCAL_RANK"] = job.get("SLURM_LOCALID", "0")
    # Jobs that share a machine need different ports.
    port = DEFAULT_PORT + int(job.get("SLURM_JOB_ID", "0")) % 10_000
    job.setdefault("MASTER_PORT", job.get("PORT", str(port)))
    if "MASTER_ADDR" not in job:
        job["MASTER_ADDR"] = first_host(job.get("SLURM_STEP_NODELIST", job.get("SLURM_NODELIST", "localhost")))


def first_host(nodes: str) -> str:
    """The first machine of a Slurm list such as ``node[03-05,9]``, which scontrol can read."""
    if not set(nodes) & set("[,"):
        return nodes
    try:
        done = subprocess.run(["scontrol", "show", "hostnames", nodes], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise ValueError(
            f"found no answer from scontrol about the machines {nodes}, expected their names; set MASTER_ADDR to the "
            "first one"
        ) from error
    return done.stdout.split()[0]


def check_address(address: str) -> None:
    """Raises a ValueError for a host name that this machine does not know; torch would try until its time is over."""
    try:
        socket.getaddrinfo(address, None)
    except OSError as error:
        raise ValueError(
            f"found MASTER_ADDR {address!r}, a name that this machine cannot resolve; expected the name or IP address "
            "of machine 0"
        ) from error


def explain(error: Exception, address: str, port: int | str) -> str:
    """What an error of torch's at the start of a group means, in one sentence."""
    text = str(error)
    if "EADDRINUSE" in text or "address already in use" in text:
        return f"found port {port} of this machine in use, expected a free one; set PORT to another (on all machines)"
    waited = f"within {join_seconds()} seconds (JOIN_TIMEOUT)"
    if "waiting for clients" in text or "clients joined" in text:
        return (
            f"found fewer processes than expected at {address}:{port} {waited}; start the same command on all machines "
            "with the same NNODES, MASTER_ADDR and PORT"
        )
    reason = text.strip().split("\n")[0][:120]
    return (
        f"found no answer from {address}:{port} {waited} ({reason}); expected machine 0 of the run there: check "
        "MASTER_ADDR, PORT, the firewall, and that it is started"
    )


def leave_group() -> None:
    """Waits for all processes and leaves their group, where there is one.

    A process that ends while another is still in the group can make that one abort.
    """
    if distributed.is_initialized():
        distributed.barrier()
        distributed.destroy_process_group()


def report_failure(error: Exception, name: str, folder: str, everywhere: bool, launcher: str) -> int:
    """Says once for all processes why a run ends, with a traceback if the reason is not a mistake in the input.

    A process of tools/dist_train.sh leaves its error to that launcher, which knows who failed first. Slurm's processes
    speak for themselves: all of them or, where all have the same error, the first.

    Args:
        error: that ends the run.
        name: of the program, for the message.
        folder: that the run writes to, for an error of the system that does not say which file it is about.
        everywhere: all processes have this error, as they had the same input.
        launcher: of the processes.

    Returns:
        The exit status.
    """
    lost = distributed.is_initialized() and is_lost_peer(error)
    if launcher != "none" and "TORCHELASTIC_ERROR_FILE" in os.environ:
        if not lost:
            handler = get_error_handler()
            handler.initialize()
            handler.record_exception(ValueError(sentence(error, folder)) if isinstance(error, EXPECTED) else error)
    elif lost:
        own = rank(launcher)
        print(f"{name}: error: rank {own} lost the connection to another rank, which failed", file=sys.stderr)
    elif isinstance(error, EXPECTED):
        if rank(launcher) == 0 or not everywhere:
            print(f"{name}: error: {sentence(error, folder)}", file=sys.stderr)
    else:
        sys.excepthook(type(error), error, error.__traceback__)
    return LOST_ANOTHER if lost else 1


def sentence(error: Exception, folder: str) -> str:
    """An expected error in one line; what the system says of a file with the file's name and a remedy."""
    if isinstance(error, OSError) and error.errno is not None and error.strerror:
        remedy = "make room, check the permissions, or give another --work_dir"
        return printable(f"{error.filename or folder}: {error.strerror}; {remedy}")
    return printable((str(error).strip() or type(error).__name__).splitlines()[-1])


def is_lost_peer(error: Exception) -> bool:
    """Whether an error only says that another process of the group is gone."""
    signs = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "gloo/", "ncclRemoteError")
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in signs)


def model_wrapper() -> dict:
    """MMEngine's settings for data-parallel training; the queues are buffers that every process keeps equal itself."""
    wrapper = {"type": "MMDistributedDataParallel", "forward_sync_buffers": False}
    return wrapper if torch.cuda.is_available() else wrapper | {"device_ids": None}
