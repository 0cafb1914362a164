"""What a run notes of its code: every source file, the commit, and whether files were changed since."""

import subprocess
from pathlib import Path

import pytest

from Stage2.runs.provenance import experiment_info, git_state, package_versions, torch_state


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "Stage2" / "models").mkdir(parents=True)
    (tmp_path / "tools").mkdir()
    (tmp_path / "Stage2" / "tools").symlink_to("../tools")
    for name in ("Stage2/training.py", "Stage2/models/alp.py", "tools/other.py"):
        (tmp_path / name).write_text(f"# {name}\n")
    return tmp_path


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-c", "user.name=n", "-c", "user.email=e@x", *arguments]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


def test_a_clean_checkout_a_changed_one_and_none(checkout: Path, caplog):
    assert git_state(checkout) == []
    git(checkout, "init", "-q")
    assert git_state(checkout) == []  # no commit yet
    assert caplog.text.count("the run notes no git commit") == 1
    git(checkout, "add", ".")
    git(checkout, "commit", "-qm", "first")
    (state,) = git_state(checkout)
    assert (state["commit"], state["dirty"]) == (git(checkout, "rev-parse", "HEAD"), False)
    (checkout / "Stage2" / "training.py").write_text("# changed\n")
    assert git_state(checkout)[0]["dirty"]


def test_the_sources_are_those_of_the_package(checkout: Path):
    info = experiment_info("training", checkout)
    assert [name for name, _ in info["sources"]] == ["Stage2/models/alp.py", "Stage2/training.py"]
    assert info["mainfile"] == "Stage2/training.py"
    assert info["dependencies"] == package_versions()


def test_packages_and_devices():
    versions = dict(text.split("==") for text in package_versions())
    assert {"torch", "numpy", "sacred"} <= {name.lower() for name in versions}
    assert torch_state()["threads"] >= 1
