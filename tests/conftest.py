"""What all tests of a process share, and each leaves as it found it."""

import locale
import logging
from collections.abc import Iterator

import pytest
import torch
from stage2.toy_encoder import PLACE

from Stage2.models.registry import ENCODERS

THREADS = torch.get_num_threads()
LOCALE = locale.setlocale(locale.LC_ALL)


@pytest.fixture(autouse=True)
def a_process_as_it_was():
    """Fails a test that leaves another number of threads, which rounds sums differently, or another locale, which
    decides the encoding of files; takes away handlers of logs, whose streams end with the test."""
    yield
    logs = logging.getLogger()
    for handler in [one for one in logs.handlers if not type(one).__module__.startswith("_pytest")]:
        logs.removeHandler(handler)
    left = torch.get_num_threads(), locale.setlocale(locale.LC_ALL)
    torch.set_num_threads(THREADS)
    locale.setlocale(locale.LC_ALL, LOCALE)
    assert left == (THREADS, LOCALE)


@pytest.fixture(scope="module")
def toy() -> Iterator[str]:
    """Name of a small encoder, registered for the tests of a module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(ENCODERS, "toy", PLACE)
        yield "toy"
