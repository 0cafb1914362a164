"""A workbench in a process of its own for benchmarks, and a client of it."""

import json
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from Stage2.benchmarks.memory import resident_memory
from Stage2.io.names import image_path

ROOT = Path(__file__).resolve().parents[2]
PAUSE = 0.5  # seconds between looks at a job


class Client:
    """Asks a workbench; its errors are those of urllib.

    Args:
        address: with the scheme and port.
        token: of the workbench.
        process: number of the server's process.
    """

    def __init__(self, address: str, token: str, process: int):
        self.address, self.token, self.process = address, token, process
        self.headers = {"authorization": f"Bearer {token}"}

    def ask(self, path: str, method: str = "GET", body: bytes | None = None) -> bytes:
        """The body of the answer."""
        request = urllib.request.Request(self.address + path, body, self.headers, method=method)
        with urllib.request.urlopen(request, timeout=300) as answer:
            return answer.read()

    def json(self, path: str, method: str = "GET", content: Any = None) -> Any:
        """The same as plain values."""
        return json.loads(self.ask(path, method, None if content is None else json.dumps(content).encode()))

    def run_job(self, **content: Any) -> float:
        """Do a job; returns the seconds that it took.

        Raises:
            ValueError: it failed.
        """
        begun = time.monotonic()
        job = self.json("/api/jobs", "POST", content)
        while True:
            time.sleep(PAUSE)
            own = self.json("/api/state")["job"]
            if own and own["id"] == job["id"] and own["state"] not in ("queued", "running"):
                break
        if own["state"] != "done":
            raise ValueError(f"the job {own['state']}: {own['error']}")
        return time.monotonic() - begun

    def memory(self) -> float:
        """Resident memory of the server, MiB."""
        return resident_memory(self.process)


@contextmanager
def served(data: Path, scan_ids: Sequence[str], folder: Path) -> Iterator[Client]:
    """A workbench of copies of prepared MR scans of a processed folder.

    Args:
        data: processed folder.
        scan_ids: of the scans.
        folder: for the copies; it is made.
    """
    folder.mkdir()
    for scan_id in scan_ids:
        shutil.copyfile(image_path(data, scan_id), folder / image_path(data, scan_id).name)
    with running(folder, "--prepared", "--modality", "MR") as client:
        yield client


@contextmanager
def running(folder: Path, *options: str) -> Iterator[Client]:
    """A workbench of a folder, with further options of tools/serve.py.

    Raises:
        ValueError: it did not start.
    """
    command = [sys.executable, str(ROOT / "tools" / "serve.py"), "--data", str(folder), *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            found = re.fullmatch(r"open (.*)/\?token=(\w+)\n", process.stdout.readline())
            if found is None:
                raise ValueError("the workbench did not start; its own line says why.")
            yield Client(found[1], found[2], process.pid)
        finally:
            process.terminate()
