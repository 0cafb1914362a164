"""The device that a network computes on."""

import torch


def choose_device(name: str, threads: int | None = None) -> torch.device:
    """Device by name; "auto" is CUDA where there is one, else the CPU.

    Args:
        name: auto, cpu, cuda, cuda:1 ...
        threads: that torch is to use on the CPU from now on; None: as many as it does.

    Raises:
        ValueError: the device is unknown, or not there.
    """
    if threads:
        torch.set_num_threads(threads)
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise ValueError(f"device={name} is unknown; choose auto, cpu or cuda.")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device={name}: this machine has no CUDA device; choose auto or cpu.")
    return device
