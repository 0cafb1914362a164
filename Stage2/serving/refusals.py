"""What the workbench answers where it does not do what was asked: a status and one line."""

from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path

from Stage2.io.text import one_line


class Refusal(Exception):
    """A request that is not done.

    Args:
        status: of the answer, 4xx or 5xx.
        text: what was found, what was expected, what to do.
    """

    def __init__(self, status: int, text: str):
        super().__init__(text)
        self.status, self.text = HTTPStatus(status), one_line(" ".join(text.split()))


def not_there(what: str) -> Refusal:
    """404 for something that the folder does not hold."""
    return Refusal(404, f"{what} is not here; load the list of scans again.")


@contextmanager
def refusing(path: Path, called: str) -> Iterator[None]:
    """Within it, what is wrong with a file is a refusal, which calls the file as the client knows it."""
    try:
        yield
    except (ValueError, FileNotFoundError) as error:
        raise Refusal(422, str(error).replace(str(path), called)) from None
