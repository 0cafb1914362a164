"""A workbench of small scans, whose jobs take no time."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from stage2.serving.served import fill, serving
from starlette.testclient import TestClient


@pytest.fixture
def folder(tmp_path) -> Path:
    return fill(tmp_path / "scans")


@pytest.fixture
def client(folder) -> Iterator[TestClient]:
    with serving(folder) as client:
        yield client
