"""What the pinned sacred 0.8.7 and MMEngine 0.10.7 need of Python and newer versions took away."""

import importlib.util
import pkgutil


def find_loader(name: str) -> object | None:
    """The loader of a module that is not imported yet, None if there is no such module; as until Python 3.13."""
    spec = importlib.util.find_spec(name)
    return None if spec is None else spec.loader


def mend_python() -> None:
    """Gives ``pkgutil`` back its `find_loader`, which Python 3.14 removed."""
    if not hasattr(pkgutil, "find_loader"):
        pkgutil.find_loader = find_loader
