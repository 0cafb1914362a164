"""What the pinned libraries need of Python and of the machine, and may not find there."""

import atexit
import importlib.util
import os
import pkgutil
import shutil
import tempfile
from pathlib import Path


def find_loader(name: str) -> object | None:
    """The loader of a module that is not imported yet, None if there is no such module; as until Python 3.13."""
    spec = importlib.util.find_spec(name)
    return None if spec is None else spec.loader


def mend_process() -> None:
    """Gives this process what sacred, MMEngine, torch and matplotlib ask for when they are imported.

    `pkgutil.find_loader`, which Python 3.14 removed; and a user without home folder and without an entry among the
    machine's users, as in many containers, gets a name and a temporary folder for the caches of these libraries.
    """
    if not hasattr(pkgutil, "find_loader"):
        pkgutil.find_loader = find_loader
    try:
        Path.home()
    except RuntimeError:
        os.environ["HOME"] = tempfile.mkdtemp(prefix="densemp-home-")
        os.environ.setdefault("USER", f"user{os.getuid()}")
        atexit.register(shutil.rmtree, os.environ["HOME"], ignore_errors=True)
