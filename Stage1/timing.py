"""How long a call takes, what it computes, and how fast the machine is at most: for both stages' benchmarks."""

import multiprocessing
import resource
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any

import cv2
import torch
from torch.utils.flop_counter import FlopCounterMode


@contextmanager
def one_thread() -> Iterator[None]:
    """PyTorch and OpenCV on one thread each inside the block, as in a loader's worker."""
    threads = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    try:
        yield
    finally:
        torch.set_num_threads(threads[0])
        cv2.setNumThreads(threads[1])


def seconds(function: Callable[[], object], repeats: int) -> float:
    """Median duration of a call, after two that are not timed."""
    function(), function()
    times = []
    for _ in range(repeats):
        begun = time.perf_counter()
        function()
        times.append(time.perf_counter() - begun)
    return statistics.median(times)


def in_own_process(function: Callable[..., Any], *arguments: object) -> Any:
    """What a function of a module returns, called in a new process: its memory is its own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def peak_memory() -> float:
    """The most memory that this process has held, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def flops(function: Callable[[], object]) -> float:
    """Floating-point operations of a call."""
    with FlopCounterMode(display=False) as counter:
        function()
    return counter.get_total_flops()


def matmul_rates(device: str, size: int = 2048, repeats: int = 5) -> dict[str, float]:
    """Floating-point operations per second of a square matrix product, the best of some, in "fp32" and "bf16"."""
    rates = {}
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))

        def product(a: torch.Tensor = a, b: torch.Tensor = b) -> None:
            a @ b
            if device == "cuda":
                torch.cuda.synchronize()

        rates[name] = max(2 * size**3 / seconds(product, 1) for _ in range(repeats))
    return rates
