"""Settings of a short training."""

from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def settings(toy: str, cohort_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """One step of a small network on the CPU, with a log folder that the tests of a module share."""
    return {
        "modelname": toy,
        "path": {"data_dir": str(cohort_folder), "log_dir": str(tmp_path_factory.mktemp("exps"))},
        "num_workers": 0,
        "device": "cpu",
        "n_steps": 1,
    }
