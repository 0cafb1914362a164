"""Connecting to Ray: which errors are about the cluster, beside a module that stands for Ray."""

import sys
from types import SimpleNamespace

import pytest

from Stage1.cluster import ray_cluster


@pytest.mark.parametrize("there_is_one", [True, False])
def test_only_an_error_of_connecting_is_told_as_an_absent_cluster(monkeypatch, there_is_one):
    def connect(address, **how):
        if not there_is_one:
            raise ConnectionError("nobody answers")

    ended = []
    ray = SimpleNamespace(is_initialized=lambda: False, init=connect, shutdown=lambda: ended.append(True))
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setenv("RAY_ADDRESS", "first:6379")
    complaint = "^a server is gone$" if there_is_one else "RAY_ADDRESS=first:6379: there is no Ray cluster"
    with pytest.raises(ConnectionError, match=complaint), ray_cluster():
        raise ConnectionError("a server is gone")
    assert ended == [True]
