"""How a command-line tool ends: with its status, and one line for whoever typed it instead of a traceback."""

import argparse
import logging
import os
import sys
from collections.abc import Callable
from typing import NoReturn

from Stage1.files import printable


class _OneLine(logging.Formatter):
    """Messages whose bytes that are not UTF-8 are escaped, as a stream would refuse them."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


class Console(logging.StreamHandler):
    """Standard output, which falls silent where nobody listens any more: Ctrl-C ends the `| tee` behind a tool first.

    Args:
        format, dates: as of `logging.Formatter`.
    """

    def __init__(self, format: str = "%(message)s", dates: str | None = None):
        super().__init__(sys.stdout)
        self.setFormatter(_OneLine(format, dates))

    def handleError(self, record: logging.LogRecord) -> None:
        if isinstance(sys.exc_info()[1], BrokenPipeError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        else:
            super().handleError(record)


def run_tool(program: str, work: Callable[[], object]) -> int:
    """Do the work of a tool, which tells of it by logging; returns the exit status.

    Errors that are meant for the user (OSError, ValueError, MemoryError) become one line on stderr and status 1.
    """
    logging.basicConfig(level=logging.INFO, handlers=[Console()])
    try:
        work()
    except (OSError, ValueError) as error:
        print(f"{program}: {printable(' '.join(str(error).split()))}", file=sys.stderr)
        return 1
    except MemoryError:
        print(f"{program}: there is not enough memory; run it again with fewer processes (--workers)", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{program}: interrupted; run it again to go on", file=sys.stderr)
        return 130
    return 0


class OneLineParser(argparse.ArgumentParser):
    """Says what is wrong in one line, without the usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}\n")


def positive(text: str) -> int:
    """The type of an option that is a whole number from 1 up."""
    number = int(text) if text.isdecimal() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"found {text}, expected a whole number from 1 up")
    return number


def count_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def add_workers(parser: argparse.ArgumentParser, default: int | None = count_cores()) -> None:
    """The option --workers, as all tools have it that work over processes."""
    what = "processes (default: one for each core)"
    parser.add_argument("--workers", type=positive, default=default, metavar="N", help=what)
