"""The queries of a request over the machines of a Ray cluster: each actor holds the network, scans stream through."""

import logging
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType

from Stage1.cluster import TRIES, Lost, share_of, stream_over_actors
from Stage1.files import remove_partial, whole_file
from Stage2.inference.adapted_engines import AdaptingEngine
from Stage2.inference.query import QuerySegmenter, failure
from Stage2.inference.request import Request
from Stage2.io.scans import ScanFile

NETWORK = ".network.safetensors"  # in the output folder while the cohort is segmented

logger = logging.getLogger(__name__)


def segment_cohort(
    ray: ModuleType, segmenter: QuerySegmenter, queries: Sequence[ScanFile]
) -> Iterator[tuple[int, dict]]:  # fmt: skip
    """Number and record of every query, in the order in which they are ready; what actors log is logged here.

    An actor has the request's threads as cores, or one; with GPUs, one of them, and its share of the cores. Queries,
    masks and outputs lie where all machines see them.

    Raises:
        FileNotFoundError, ValueError, OSError: the supports or the network are wrong, or nothing can be written.
    """
    request, out = segmenter.request, segmenter.request.out
    remove_partial(out)
    share, gpus = share_of(ray, device=request.device)
    cores = request.threads or (max(int(share), 1) if gpus else 1)
    if request.device.startswith("cuda"):
        request = replace(request, device="cuda")  # the one that an actor sees
    network = out / NETWORK
    try:
        made = _make_network(segmenter, queries, network)
        make = partial(_make_logged, request, network if made else None)
        records = stream_over_actors(ray, make, queries, cores=cores, gpus=gpus)
        for number, found in records:
            if isinstance(found, Lost):
                reason = f"{queries[number].path} ended its process {TRIES} times, for want of memory perhaps"
                yield number, failure(queries[number], OSError(f"{reason}; leave it out, or give it more."))
                continue
            record, lines = found
            for level, text in lines:
                logger.log(level, "%s", text)
            yield number, record
    finally:
        network.unlink(missing_ok=True)
        remove_partial(out)


def _make_network(segmenter: QuerySegmenter, queries: Sequence[ScanFile], network: Path) -> bool:
    """Adapt the network once, where all machines see it, unless no query needs it."""
    engine = segmenter.engine
    if not isinstance(engine, AdaptingEngine):
        return False
    if not any(segmenter.is_open(query, read) for read in (False, True) for query in queries):
        return False
    network.unlink(missing_ok=True)
    kept = engine.make(network)
    if kept != network:
        with whole_file(network) as temporary:
            shutil.copyfile(kept, temporary)
    return True


def _make_logged(request: Request, network: Path | None) -> Callable[[ScanFile], tuple[dict, list[tuple[int, str]]]]:
    """In an actor: the function from a query to its record, and what was logged meanwhile."""
    lines = _Lines()
    logging.basicConfig(level=logging.INFO, handlers=[lines], force=True)
    segment = QuerySegmenter(request, network)
    _ = segment.settings

    def work(query: ScanFile) -> tuple[dict, list[tuple[int, str]]]:
        lines.taken.clear()
        return segment(query), list(lines.taken)

    return work


class _Lines(logging.Handler):
    """Keeps level and text of what is logged."""

    def __init__(self):
        super().__init__()
        self.taken: list[tuple[int, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.taken.append((record.levelno, record.getMessage()))
