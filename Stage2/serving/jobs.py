"""Jobs of a workbench: one at a time, each in a process of its own, kept as files that outlive the server."""

import asyncio
import json
import logging
import os
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from Stage1.commands import end_process
from Stage1.files import write_json
from Stage2.adaptation.settings import SUFFIX
from Stage2.serving.descriptions import describe
from Stage2.serving.events import Events
from Stage2.serving.job import CANCELLED, DONE, FAILED, KINDS, QUEUED, RUNNING, Job
from Stage2.serving.networks import Network, Networks
from Stage2.serving.plan import LOG, PLAN, PROGRESS, expect_possible, queries_of, write_plan
from Stage2.serving.refusals import Refusal, not_there
from Stage2.serving.store import Store

MOST_MINUTES = 24 * 60.0
START = "start.txt"  # what the process of the next job says before it has a job
KEPT = 20  # jobs that have ended
LOOK_EVERY = 0.25  # seconds
SECONDS_TO_END = 30.0  # that a job has to keep what it learned
WORK = (sys.executable, "-m", "Stage2.serving.work")  # does the job whose folder its input names
_ROOT = Path(__file__).resolve().parents[2]

logger = logging.getLogger(__name__)


class Jobs:
    """The queue.

    Args:
        store: of the workbench.
        networks: of the workbench.
        events: that tell of changes.
        command: that does a job.
    """

    def __init__(self, store: Store, networks: Networks, events: Events, command: Sequence[str] = WORK):
        self.store, self.networks, self.events, self.command = store, networks, events, command
        self.folder = store.state / "jobs"
        self.jobs: list[Job] = self._read()
        self._last = next((job for job in reversed(self.jobs) if job.has_ended), None)
        self._process: subprocess.Popen | None = None
        self._spare: subprocess.Popen | None = None
        self._wake = asyncio.Event()
        self._changed = asyncio.Condition()
        self._cancelled: set[str] = set()

    @property
    def running(self) -> Job | None:
        return next((job for job in self.jobs if job.state == RUNNING), None)

    @property
    def queue(self) -> list[Job]:
        return [job for job in self.jobs if job.state == QUEUED]

    @property
    def shown(self) -> Job | None:
        """The running job, else the last that has ended."""
        return self.running or self._last

    def get(self, job_id: str) -> Job:
        """A job; raises Refusal where there is none."""
        job = next((job for job in self.jobs if job.id == job_id), None)
        if job is None:
            raise not_there("This job")
        return job

    async def add(
        self, kind: str, scan_ids: Sequence[str] | None, minutes: float | None = None, session: str | None = None
    ) -> Job:
        """Queue a job.

        Args:
            kind: "preview" or "segment".
            scan_ids: of the scans to segment; None: all but the examples.
            minutes: of processor time for an adaptation; None: as the workbench is set.
            session: whose scan is segmented, in place of those of the folder.

        Raises:
            Refusal: it is none that can be done, or too many wait.
        """
        if kind not in KINDS:
            raise Refusal(422, f"a job of kind {kind!r}; expected {' or '.join(KINDS)}.")
        if minutes is not None and not 0 < minutes <= MOST_MINUTES:
            raise Refusal(422, f"minutes: expected a finite number, more than 0 and up to {MOST_MINUTES:g}.")
        if len(self.queue) >= self.store.settings.limits.queue:
            raise Refusal(429, f"{len(self.queue)} jobs wait already; wait until some are done, or cancel them.")
        expect_possible(self.store, self.networks)
        queries = [] if session else await asyncio.to_thread(queries_of, self.store, scan_ids)
        moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")
        job = Job(f"{moment}-{secrets.token_hex(2)}", kind, [scan.id for scan in queries], minutes, session=session)
        self.jobs.append(job)
        self._write(job)
        await self._tell(job)
        self._wake.set()
        return job

    def warm(self) -> None:
        """Start the process of the next job, which loads what it needs and waits; for when a job is likely to come."""
        if self._spare is not None and self._spare.poll() is None:
            return
        environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(_ROOT), os.environ.get("PYTHONPATH", "")])}
        self.folder.mkdir(exist_ok=True)
        with (self.folder / START).open("wb") as log:
            self._spare = subprocess.Popen(
                [*self.command, str(os.getpid())], stdin=subprocess.PIPE, stdout=log, stderr=log, env=environment,
                start_new_session=True,
            )  # fmt: skip

    async def cancel(self, job_id: str) -> Job:
        """End a job; what there is stays. Raises Refusal where there is none."""
        job = self.get(job_id)
        if job.state == QUEUED:
            await self._end(job, CANCELLED)
        elif job.state == RUNNING:
            self._cancelled.add(job.id)
            self._interrupt()
        return job

    def _interrupt(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)

    async def wait(self, job: Job) -> Job:
        """Returns when a job has ended."""
        async with self._changed:
            await self._changed.wait_for(lambda: job.has_ended)
        return job

    async def work(self) -> None:
        """Do what is queued, for ever; cancelled, it interrupts the running job, which the next server goes on with."""
        await asyncio.to_thread(self._publish_all)
        try:
            while True:
                while self.queue:
                    await self._do(self.queue[0])
                self._wake.clear()
                if not self.queue:
                    await self._wake.wait()
        finally:
            if self._spare is not None:
                self._spare.kill()
                self._spare.wait()
            _end(self._process)

    def _publish_all(self) -> None:
        """Save the masks that were made when the server before had ended."""
        for scan in self.store.scans():
            if scan.error is None:
                try:
                    self.store.publish(scan)
                except OSError as error:
                    logger.error("%s", error)

    async def _do(self, job: Job) -> None:
        folder = self.folder / job.id
        job.state, job.stage = RUNNING, None
        self._write(job)
        await self._tell(job)
        try:
            if not (folder / PLAN).is_file():
                await asyncio.to_thread(write_plan, folder, job, self.store, self.networks)
            plan = json.loads((folder / PLAN).read_text(encoding="utf-8"))
            status = await self._follow(job, folder, plan)
        except Exception as error:  # whatever it is, the next job must have its turn
            logger.exception("job %s", job.id)
            await asyncio.to_thread(_end, self._process)
            self._process = None
            await self._end(job, FAILED, f"{error}" if isinstance(error, Refusal | OSError) else repr(error))
            return
        if job.id in self._cancelled:
            self._cancelled.discard(job.id)
            await self._end(job, CANCELLED)
        elif status == 0:
            await self._end(job, DONE)
            self.warm()  # a mask is looked at, corrected, and the next job comes
        else:
            error = _progress(folder).get("error")
            where = f"{LOG} and {START} in {self.folder}"
            ended = f"its process ended with status {status}; memory may be short, see {where}"
            await self._end(job, FAILED, error or ended)

    async def _follow(self, job: Job, folder: Path, plan: dict[str, Any]) -> int:
        """Run the process of a job to its end, and tell of its progress; returns its exit status."""
        (folder / PROGRESS).unlink(missing_ok=True)
        self.warm()
        self._process, self._spare = self._spare, None
        with suppress(BrokenPipeError), self._process.stdin as named:
            named.write(json.dumps(str(folder)).encode() + b"\n")
        if job.id in self._cancelled:
            self._interrupt()
        seen: dict[str, Any] = {}
        ids = {str(scan.file.path): scan.id for scan in self.store.scans()}
        while True:
            status = self._process.poll()
            progress = _progress(folder)
            if progress != seen:
                await self._heed(job, plan, seen, progress, ids)
                seen = progress
            if status is not None:
                self._process = None
                return status
            await asyncio.sleep(LOOK_EVERY)

    async def _heed(
        self, job: Job, plan: dict[str, Any], before: dict[str, Any], now: dict[str, Any], ids: dict[str, str]
    ) -> None:
        """Take over what the process of a job has newly done."""
        if now.get("minutes") is not None and before.get("minutes") is None:
            network = Network(Path(plan["adapt"]["out"]), plan["examples"], now["minutes"])
            await asyncio.to_thread(self.networks.take, network)
            self.events.tell("state", {})
        job.stage, job.share, job.seconds_left = now["stage"], now["share"], now["seconds_left"]
        job.done = [ids[path] for path in now["done"] if path in ids]
        failed = now["failed"]
        news = {path for key in ("looked", "done") for path in now[key][len(before.get(key, [])) :]}
        for path in sorted(news | (failed.keys() - before.get("failed", {}).keys())):
            scan = next((scan for scan in self.store.scans() if str(scan.file.path) == path), None)
            if scan is not None:
                fingerprint = plan.get("fingerprints", {}).get(path)
                await asyncio.to_thread(self.store.take_prediction, scan, fingerprint, failed.get(path))
                self.events.tell("scan", await asyncio.to_thread(describe, self.store, scan))
        await self._tell(job)

    async def _end(self, job: Job, state: str, error: str | None = None) -> None:
        job.state, job.error, job.seconds_left = state, error, None
        self._last = job
        if state == DONE:
            job.share = 1.0
        self._write(job)
        self.networks.discard(job.id)
        for pattern in (f"*{SUFFIX}", "*.pth"):  # of the first look
            for path in (self.folder / job.id).glob(pattern):
                path.unlink()
        ended = [old for old in self.jobs if old.has_ended]
        for old in ended[:-KEPT]:
            self.jobs.remove(old)
            shutil.rmtree(self.folder / old.id, ignore_errors=True)
        await self._tell(job)
        self.events.tell("state", {})

    async def _tell(self, job: Job) -> None:
        self.events.tell("job", asdict(job))
        async with self._changed:
            self._changed.notify_all()

    def _write(self, job: Job) -> None:
        try:
            write_json(self.folder / job.id / "job.json", asdict(job))
        except OSError as error:  # the job itself goes on
            logger.error("%s", error)

    def _read(self) -> list[Job]:
        """The jobs of the server before; one that was running is the first to go on."""
        found = []
        for path in sorted(self.folder.glob("*/job.json")):
            try:
                job = Job(**json.loads(path.read_text(encoding="utf-8")))
            except (OSError, ValueError, TypeError) as error:
                logger.warning("%s is damaged and left out: %s", path, error)
                continue
            if not job.has_ended:
                job.state = QUEUED
            found.append(job)
        return found


def _end(process: subprocess.Popen | None) -> None:
    """Let a process keep what it learned, and end."""
    if process is not None:
        end_process(process, signal.SIGINT, SECONDS_TO_END)


def _progress(folder: Path) -> dict[str, Any]:
    try:
        return json.loads((folder / PROGRESS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
