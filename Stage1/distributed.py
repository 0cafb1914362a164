"""Process groups for runs on CPUs, which MMEngine's own launchers cannot start."""

import os
import subprocess

import torch
from torch import distributed


def processes(launcher: str) -> int:
    """Number of processes that the launcher started: 1 without one."""
    return {
        "none": lambda: 1,
        "pytorch": lambda: int(os.environ["WORLD_SIZE"]),
        "slurm": lambda: int(os.environ["SLURM_NTASKS"]),
    }[launcher]()


def rank() -> int:
    """This process's place among the launcher's processes: 0 without one."""
    return int(os.environ.get("RANK", os.environ.get("SLURM_PROCID", "0")))


def check_launcher(launcher: str) -> None:
    """Raises a ValueError if the launcher's environment is not there."""
    needed = {"none": (), "pytorch": ("RANK", "WORLD_SIZE", "LOCAL_RANK"), "slurm": ("SLURM_PROCID", "SLURM_NTASKS")}
    missing = [name for name in needed[launcher] if name not in os.environ]
    if missing:
        raise ValueError(
            f"found no {', '.join(missing)} in the environment, expected them from the launcher {launcher}; "
            f"start with {'tools/dist_train.sh' if launcher == 'pytorch' else 'srun'} or use --launcher none"
        )


def start_cpu_group(launcher: str) -> None:
    """Joins the gloo group of a launcher's processes.

    MMEngine's launchers select a CUDA device first; with a group already there its Runner does not start one.
    """
    if launcher == "slurm":
        os.environ.setdefault("RANK", os.environ["SLURM_PROCID"])
        os.environ.setdefault("WORLD_SIZE", os.environ["SLURM_NTASKS"])
        os.environ.setdefault("LOCAL_RANK", os.environ.get("SLURM_LOCALID", "0"))
        os.environ.setdefault("MASTER_PORT", "29500")
        if "MASTER_ADDR" not in os.environ:
            command = ["scontrol", "show", "hostnames", os.environ["SLURM_NODELIST"]]
            hosts = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
            os.environ["MASTER_ADDR"] = hosts[0]
    distributed.init_process_group("gloo")


def leave_group() -> None:
    """Waits for all processes and leaves their group, where there is one.

    A process that ends while another is still in the group can make that one abort.
    """
    if distributed.is_initialized():
        distributed.barrier()
        distributed.destroy_process_group()


def model_wrapper() -> dict:
    """MMEngine's settings for data-parallel training; the queues are buffers that every process keeps equal itself."""
    wrapper = {"type": "MMDistributedDataParallel", "broadcast_buffers": False}
    return wrapper if torch.cuda.is_available() else wrapper | {"device_ids": None}
