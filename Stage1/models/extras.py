"""Libraries that only some pretext tasks need, asked for when such a task is built."""

from importlib import import_module
from typing import Any


def from_library(place: str, *names: str) -> Any:
    """Something of a library of requirements-selfsup.txt.

    Args:
        place: the module.
        names: of what is wanted in it.

    Returns:
        One thing, or a list for several names.

    Raises:
        ValueError: the library is not installed.
    """
    try:
        module = import_module(place)
    except ModuleNotFoundError as error:
        raise ValueError(
            f"found no library {error.name}, which this pretext task needs; install what "
            "requirements-selfsup.txt lists: pip install -r requirements-selfsup.txt"
        ) from error
    found = [getattr(module, name) for name in names]
    return found if len(found) != 1 else found[0]
