"""The snapshot finder prints one path, or one sentence."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def find(log_dir: Path, *arguments: str) -> subprocess.CompletedProcess:
    named = [
        "--log-dir",
        str(log_dir),
        "--exp-prefix",
        "train_vfold0",
        "--dataset",
        "SABS_Superpix",
        "--label-sets",
        "1",
    ]
    return subprocess.run(
        [sys.executable, str(ROOT / "tools" / "find_snapshot.py"), *named, *arguments], capture_output=True, text=True
    )


@pytest.fixture
def log_dir(tmp_path: Path) -> Path:
    for run, step in ((1, 100), (1, 200), (2, 50)):
        path = tmp_path / "mySSL_train_vfold0_SABS_Superpix_sets_1_1shot" / str(run) / "snapshots" / f"{step}.pth"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path


@pytest.mark.parametrize(("arguments", "end"), [([], "2/snapshots/50.pth"), (["--step", "100"], "1/snapshots/100.pth")])
def test_it_prints_the_path(log_dir: Path, arguments: list[str], end: str):
    result = find(log_dir, *arguments)
    assert result.returncode == 0
    assert result.stdout == f"{log_dir}/mySSL_train_vfold0_SABS_Superpix_sets_1_1shot/{end}\n"


@pytest.mark.parametrize("arguments", [["--step", "7"], ["--shots", "5"], ["--select", "test"]])
def test_a_missing_snapshot_is_one_sentence(log_dir: Path, arguments: list[str]):
    result = find(log_dir, *arguments)
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr.startswith("find_snapshot.py: ")
    assert len(result.stderr.splitlines()) == 1
