"""Where a run comes from: source files, state of the git checkout, versions of all packages, devices."""

import logging
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import torch
from sacred.dependencies import get_commit_if_possible, get_digest

logger = logging.getLogger(__name__)


def experiment_info(name: str, root: Path) -> dict[str, Any]:
    """What sacred notes of an experiment, in its own layout.

    sacred by itself finds only what its own caller imports, and asks git once for every file.

    Args:
        name: of the experiment, which is that of its entry point.
        root: of the repository, which holds the package Stage2.

    Returns:
        "sources" as (file relative to the root, md5), "repositories" (empty where the code is no git checkout),
        "dependencies" as "package==version", and "name", "base_dir", "mainfile".
    """
    files = sorted(path for path in (root / "Stage2").rglob("*.py") if _is_own(path, root))
    return {
        "name": name,
        "base_dir": str(root),
        "sources": [(path.relative_to(root).as_posix(), get_digest(path)) for path in files],
        "dependencies": package_versions(),
        "repositories": git_state(root),
        "mainfile": f"Stage2/{name}.py",
    }


def package_versions() -> list[str]:
    """ "package==version" of everything that is installed, by name."""
    found = {found.metadata["Name"]: found.version for found in distributions()}
    return sorted((f"{name}=={version}" for name, version in found.items() if name), key=str.lower)


def git_state(root: Path) -> list[dict[str, Any]]:
    """Commit of the checkout and whether files were changed since; empty where there is no git, or no checkout."""
    try:
        from git.exc import GitError
    except ImportError:  # GitPython, which sacred needs, cannot be imported where git is not installed
        logger.warning("the run notes no git commit: git is not installed")
        return []
    try:
        url, commit, changed = get_commit_if_possible(str(root / "Stage2" / "training.py"), True)
    except (GitError, OSError, ValueError) as error:  # such as a checkout of somebody else, or one without a commit
        logger.warning("the run notes no git commit (%s)", str(error).strip().splitlines()[0])
        return []
    return [] if url is None else [{"url": url, "commit": commit, "dirty": changed}]


def torch_state() -> dict[str, Any]:
    """The devices and settings that torch computes with."""
    devices = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    return {
        "version": str(torch.__version__),
        "threads": torch.get_num_threads(),
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "devices": devices,
    }


def _is_own(path: Path, root: Path) -> bool:
    """Not below one of the links from Stage2/ to the repository's other folders."""
    folder = (root / "Stage2").resolve()
    return path.resolve().is_relative_to(folder)
