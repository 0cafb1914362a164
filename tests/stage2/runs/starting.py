"""Trainings in processes of their own, which tests stop, limit or kill."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from Stage2.runs.settings import flatten

ROOT = Path(__file__).resolve().parents[3]


def start(settings: Mapping[str, Any], prefix: str, program: Sequence[str], **changes: Any) -> subprocess.Popen:
    """A training in a process group of its own, with as many threads as this process has; its errors can be read.

    Args:
        settings: of the run, nested.
        prefix: `exp_prefix`.
        program: what Python runs, a file, or "-c" and a text.
        changes: to the settings.
    """
    words = [f"{key}={value}" for key, value in flatten({**settings, **changes, "exp_prefix": prefix})]
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(torch.get_num_threads()))  # MKL's wins
    return subprocess.Popen(
        [sys.executable, *program, "with", *words], cwd=ROOT,
        env={**os.environ, **threads, "PYTHONPATH": str(ROOT)}, text=True, stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
