"""A workbench: its store, its networks, its jobs and who listens, in one object that all routes share."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from Stage2.io.text import one_line
from Stage2.serving.descriptions import describe_all
from Stage2.serving.events import Events
from Stage2.serving.jobs import WORK, Jobs
from Stage2.serving.networks import Networks
from Stage2.serving.settings import STATE, ServeSettings, check_settings
from Stage2.serving.store import Store


class Workbench:
    """Everything behind the routes.

    Args:
        settings: of the workbench.
        command: that does a job, see `Jobs`.

    Raises:
        FileNotFoundError, ValueError, OSError: as `check_settings`, `Networks` and `Store`.
    """

    def __init__(self, settings: ServeSettings, command: Sequence[str] = WORK):
        check_settings(settings)
        state = settings.data.resolve() / STATE
        self.networks = Networks(settings.adapted or state / "networks", state / "network.json")
        self.settings, self.store = settings, Store(settings)
        self.events = Events()
        self.jobs = Jobs(self.store, self.networks, self.events, command)
        self._uploads = asyncio.Semaphore(settings.limits.at_once)

    def describe(self) -> dict[str, Any]:
        """The state as clients see it."""
        network, job = self.networks.current(), self.jobs.shown
        known = None
        if network is not None:
            known = {"ready": True, "examples": sorted(network.examples), "minutes": round(network.minutes, 3)}
        return {
            "version": program_version(),
            "folder": one_line(self.store.root.name),
            "read_only": self.settings.read_only,
            "labels": [own.plain() for own in self.store.labels()],
            "scans": describe_all(self.store),
            "job": None if job is None else asdict(job),
            "queue": [asdict(own) for own in self.jobs.queue],
            "network": known,
        }

    @asynccontextmanager
    async def upload(self) -> AsyncIterator[Path]:
        """Within it, something is being sent; gives the folder for it. Others wait until some of them are done."""
        async with self._uploads:
            self.store.uploads.mkdir(exist_ok=True)
            yield self.store.uploads


def program_version() -> str:
    """Of this program."""
    try:
        return version("densemp")
    except PackageNotFoundError:
        return "unknown"
