"""Trainings in processes of their own, which tests stop, limit or kill."""

import os
import resource
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from stage2.toy_encoder import PLACE

from Stage2.runs.settings import flatten

ROOT = Path(__file__).resolve().parents[3]
TOY = f"from Stage2.models.registry import ENCODERS; ENCODERS['toy'] = {PLACE!r}\n"  # as the fixture does here


def start(settings: Mapping[str, Any], prefix: str, program: str, **changes: Any) -> subprocess.Popen:
    """A training in a process group of its own, with as many threads as this process has; its errors can be read.

    Args:
        settings: of the run, nested.
        prefix: `exp_prefix`.
        program: the text that Python runs, which finds the toy encoder registered.
        changes: to the settings.
    """
    words = [f"{key}={value}" for key, value in flatten({**settings, **changes, "exp_prefix": prefix})]
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(torch.get_num_threads()))  # MKL's wins
    return subprocess.Popen(
        [sys.executable, "-c", TOY + program, "with", *words], cwd=ROOT,
        env={**os.environ, **threads, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}, text=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Files of this process cannot grow larger than so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
