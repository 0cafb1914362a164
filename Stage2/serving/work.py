"""The process of one job: what `adapt.py` and `predict.py` do, told in a file as it goes.

`python -m Stage2.serving.work PARENT` loads what a network needs, reads the folder of a job (JSON) from its input, and
does the plan in it. Ctrl-C, or the end of the process PARENT, keeps what is learned so far; called again, it goes on.
"""

import importlib
import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from Stage1.files import locked, write_json
from Stage2.adaptation.settings import AdaptationSettings
from Stage2.inference.adapt_job import AdaptJob, AdaptRequest
from Stage2.inference.job import PredictionJob
from Stage2.inference.request import Preparation, Request
from Stage2.run_folders.layout import PROTOTYPES
from Stage2.serving.plan import LOG, PLAN, PROGRESS

if TYPE_CHECKING:
    from Stage2.adaptation.training import Progress

LOOKING, ADAPTING, SEGMENTING = "prototypes", "adapting", "segmenting"  # stages of a job
INTERRUPTED = 130  # exit status
TELL_EVERY = 0.25  # seconds
SECONDS_TO_END = 60.0  # that the process before has for the step at hand

logger = logging.getLogger(__name__)


class Told:
    """Where a job is, in a file that its server reads.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path):
        self.path, self.last, self.begun = path, 0.0, (0.0, 0.0)
        self.content: dict[str, Any] = {
            "stage": LOOKING, "share": 0.0, "seconds_left": None, "looked": [], "done": [], "failed": {},
            "minutes": None, "error": None,
        }  # fmt: skip

    def stage(self, name: str) -> None:
        """A stage begins."""
        self.content |= {"stage": name, "share": 0.0, "seconds_left": None}
        self.begun = (time.monotonic(), 0.0)
        self.write()

    def share(self, share: float) -> None:
        """So much of the stage is done; the time that is left follows from how long the last part of it took."""
        began, before = self.begun
        if before == 0.0 < share < 1:  # the first word of a stage may come after a long preparation, or go on
            self.begun = (time.monotonic(), share)
        elif share > before:
            left = (time.monotonic() - began) / (share - before) * (1 - share)
            self.content["seconds_left"] = round(left, 1)
        self.content["share"] = round(share, 4)
        if time.monotonic() - self.last > TELL_EVERY or share >= 1:
            self.write()

    def write(self) -> None:
        self.last = time.monotonic()
        write_json(self.path, self.content)


def do(plan: Mapping[str, Any], told: Told) -> bool:
    """Do a plan; returns whether it was done, which Ctrl-C during an adaptation prevents.

    Raises:
        FileNotFoundError, ValueError, OSError: an input is wrong, or nothing can be written.
    """
    told.stage(LOOKING)
    network = None if plan["network"] is None else Path(plan["network"])
    if plan["look"] is not None and plan["queries"]:
        if not _look(plan, told):
            return False
    elif plan["adapt"] is not None and network is not None:
        unseen = [path for path in plan["queries"] if not _has_mask(plan, path)]
        _segment(plan, unseen, network, told, "looked")
    if plan["adapt"] is not None:
        told.stage(ADAPTING)
        network = Path(plan["adapt"]["out"])
        if not _adapt(plan["adapt"], told):
            return False
        from Stage2.adaptation.network_file import describe_file

        told.content["minutes"] = plan["minutes_before"] + describe_file(network)["minutes"]
        told.write()
    if network is not None:
        told.stage(SEGMENTING)
        _segment(plan, plan["queries"], network, told, "done")
    return True


def _look(plan: Mapping[str, Any], told: Told) -> bool:
    """The masks that there are at once: by prototypes where the start is a snapshot, else by a head alone."""
    look = plan["look"]
    queries = list(map(Path, plan["queries"]))
    common = {"query": queries, "out": Path(plan["look_out"])}
    if _is_snapshot(look["start"]):
        request = Request(
            **common, **_preparation(look), supports=_supports(look), checkpoint=Path(look["start"]),
            approach=PROTOTYPES, labels=_labels(look),
        )  # fmt: skip
        _predict(request, told, "looked")
        return True
    if not _adapt(look, None):
        return False
    _segment({**plan, "out": plan["look_out"]}, plan["queries"], Path(look["out"]), told, "looked")
    return True


def _adapt(learning: Mapping[str, Any], told: Told | None) -> bool:
    job = AdaptJob(
        AdaptRequest(
            **_preparation(learning), supports=_supports(learning), out=Path(learning["out"]), start=learning["start"],
            annotated=learning["annotated"],
            settings=AdaptationSettings(minutes=learning["minutes"], steps=learning["steps"]),
        )
    )  # fmt: skip

    def report(progress: "Progress") -> None:
        if told is not None:
            told.share(progress.share)

    return job.run(report=report)


def _segment(plan: Mapping[str, Any], queries: Sequence[str], network: Path, told: Told, key: str) -> None:
    """Segment scans with a network; those that fail are told of and do not stop the others."""
    if queries:
        request = Request(
            query=[Path(path) for path in queries], out=Path(plan["out"]), checkpoint=network, dataset=plan["dataset"]
        )
        _predict(request, told, key)


def _predict(request: Request, told: Told, key: str) -> None:
    job = PredictionJob(request)

    def follow(records: Iterable[tuple[int, dict]]) -> Iterable[tuple[int, dict]]:
        for place, record in records:
            yield place, record
            told.content[key].append(record["query"])
            told.content["failed"].pop(record["query"], None)  # in a first look
            if "error" in record:
                told.content["failed"][record["query"]] = record["error"]
            told.share((place + 1) / len(job.queries))
            told.write()

    job.run(progress=follow)


def _has_mask(plan: Mapping[str, Any], path: str) -> bool:
    from Stage2.inference.outputs import Outputs
    from Stage2.io.scans import ScanFile

    return any(Outputs(Path(plan[out]), ScanFile(Path(path))).mask.is_file() for out in ("out", "look_out"))


def _is_snapshot(start: str | None) -> bool:
    """Whether a start is a snapshot of Stage 2, which prototypes need."""
    if start is None or not start.endswith(".pth") or not Path(start).is_file():
        return False
    from Stage1.weights.checkpoints import read_checkpoint
    from Stage2.models.snapshots import describe_snapshot

    return describe_snapshot(read_checkpoint(Path(start))).encoder is not None


def _labels(learning: Mapping[str, Any]) -> list[int]:
    return AdaptJob(
        AdaptRequest(**_preparation(learning), supports=_supports(learning), out=Path(learning["out"]))
    ).labels


def _supports(learning: Mapping[str, Any]) -> list[tuple[Path, Path]]:
    return [(Path(scan), Path(mask)) for scan, mask in learning["supports"]]


def _preparation(learning: Mapping[str, Any]) -> dict[str, Any]:
    given = Preparation(**learning["preparation"])
    values = dict(vars(given))
    values["like"] = None if given.like is None else Path(given.like)
    values["ct_statistics"] = None if given.ct_statistics is None else tuple(given.ct_statistics)
    return values


def end_with(parent: int) -> None:
    """Ends this process as Ctrl-C does, soon after a process that started it has ended."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        logger.info("the server has ended; what is learned so far is kept")
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(SECONDS_TO_END)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Within it, no other job of this folder of scans works; the one before may still end.

    Raises:
        OSError: it does not end.
    """
    deadline = time.monotonic() + SECONDS_TO_END
    with ExitStack() as held:
        while True:
            try:
                held.enter_context(locked(folder))
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.5)
        yield


def main(parent: int) -> int:
    """Do the job whose folder is named on the input, if one is; returns the exit status."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    end_with(parent)
    try:
        importlib.import_module("Stage2.inference.adapting")  # with torch: seconds, before they are waited for
        named = sys.stdin.readline()
    except KeyboardInterrupt:
        return INTERRUPTED
    return _do_job(Path(json.loads(named))) if named else 0


def _do_job(folder: Path) -> int:
    with (folder / LOG).open("ab") as log:
        os.dup2(log.fileno(), sys.stdout.fileno())
        os.dup2(log.fileno(), sys.stderr.fileno())
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    told = Told(folder / PROGRESS)
    try:
        with alone(folder.parent):
            plan = json.loads((folder / PLAN).read_text(encoding="utf-8"))
            return 0 if do(plan, told) else INTERRUPTED
    except (OSError, ValueError) as error:
        told.content["error"] = " ".join(str(error).split())
        told.write()
        logger.error("%s", error)
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
