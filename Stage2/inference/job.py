"""A request of many queries: every query once, one that fails does not stop the others, what is done is kept."""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from os.path import realpath  # Path.resolve raises at links in a circle
from pathlib import Path
from types import ModuleType

from Stage2.inference.outputs import TABLE, Outputs, ResultsTable, mean_confidence, read_record
from Stage2.inference.query import QuerySegmenter
from Stage2.inference.request import Request
from Stage2.io.scans import ScanFile, find_scans, list_scans_of
from Stage2.io.text import one_line

logger = logging.getLogger(__name__)


class PredictionJob:
    """A request whose inputs are there; the network is imported and loaded when the first query needs it.

    Raises:
        FileNotFoundError, ValueError: the request contradicts itself, or something in it does not exist.
    """

    def __init__(self, request: Request):
        self.request = request
        self.segmenter = QuerySegmenter(request)
        self.queries = self._queries()
        truth = request.truth
        if truth is not None and not truth.exists():
            raise FileNotFoundError(f"--evaluate {truth} does not exist; expected a mask, or a folder of them.")
        if truth is not None and len(self.queries) > 1 and not truth.is_dir():
            raise ValueError(f"--evaluate {truth} is one file for {len(self.queries)} queries; give a folder.")

    def run(
        self, ray: ModuleType | None = None, progress: Callable[..., Iterable[tuple[int, dict]]] = iter
    ) -> int:  # fmt: skip
        """Segment every query; returns how many failed. Results go to the log and, as they come, to results.csv.

        Args:
            ray: connected, see `Stage1.cluster`: the queries are spread over its machines; None: one after another.
            progress: shows how far an iterable is.

        Raises:
            FileNotFoundError, ValueError, OSError: the supports or the network are wrong, or nothing can be written.
        """
        table = ResultsTable(self.request.out / TABLE)  # a folder that cannot be written is told before all else
        _ = self.segmenter.settings  # and what is wrong with the supports
        failures, trusted = {}, {}
        for number, record in progress(self._records(ray)):
            table.add(record)
            if "error" in record:
                failures[number] = record
            elif self.request.suggest and record["labels"]:
                trusted[record["query"]] = mean_confidence(record)
        if ray is not None:
            table.rewrite(failures.get(number) or self._kept(query) for number, query in enumerate(self.queries))
        self._suggest(trusted)
        if failures and len(self.queries) > 1:
            logger.error("%d of %d scans failed; see %s", len(failures), len(self.queries), table.path)
        return len(failures)

    def _records(self, ray: ModuleType | None) -> Iterator[tuple[int, dict]]:
        """Number and record of every query, in the order in which they are ready."""
        if ray is None:
            return enumerate(map(self.segmenter, self.queries))
        from Stage2.inference.cohort import segment_cohort

        return segment_cohort(ray, self.segmenter, self.queries)

    def _kept(self, query: ScanFile) -> dict:
        return read_record(Outputs(self.request.out, query).record) or {}

    def _suggest(self, trusted: Mapping[str, float]) -> None:
        """Name the query whose masks are least to be trusted: its annotation teaches most."""
        for place, query in enumerate(sorted(trusted, key=trusted.get), start=1):
            what = "annotate next" if place == 1 else f"then, as number {place}"
            logger.info("%s: %s (mean confidence %.2f)", what, one_line(query), trusted[query])

    def _queries(self) -> list[ScanFile]:
        request = self.request
        asked = [request.query] if isinstance(request.query, Path) else list(request.query or [])
        source = ", ".join(map(str, asked or [request.listed]))
        found = [scan for path in asked for scan in find_scans(path)] if asked else list_scans_of(request.listed)
        own = {realpath(file.path) for pair in self.segmenter.supports for file in pair}
        queries = [query for query in found if realpath(query.path) not in own or len(found) == 1]
        if not queries:
            raise FileNotFoundError(f"{source} holds no scan but the supports; expected one to segment.")
        if len(queries) < len(found):
            logger.info("%d supports lie in %s too and are no queries", len(found) - len(queries), source)
        folders = {query.path if query.path.is_dir() else query.path.parent for query in queries}
        folders |= {path for path in asked if path.is_dir()}  # where the next call would take the masks for scans
        if realpath(request.out) in set(map(realpath, folders)):
            raise ValueError(f"--out {request.out} is the folder of the queries; choose another one.")
        name, times = Counter(query.name for query in queries).most_common(1)[0]
        if times > 1:
            remedy = "rename one" if asked else "give each a name of its own in a column `name`"
            raise ValueError(f"{source} holds two scans called {name}; {remedy}.")
        return queries
