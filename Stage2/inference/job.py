"""A request of many queries: every query once, one that fails does not stop the others, what is done is kept."""

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import SimpleITK as sitk

from Stage1.files import hash_file
from Stage2.evaluation.metrics import METRICS, compute_metrics, heading
from Stage2.inference.engines import Engine, engine_for
from Stage2.inference.feature_cache import hash_of
from Stage2.inference.masks import find_truth, read_truth
from Stage2.inference.outputs import TABLE, Outputs, expect_own_table, mean_confidence, write_record, write_table
from Stage2.inference.request import Request
from Stage2.io.axes import axes_of
from Stage2.io.grid import millilitres_of
from Stage2.io.scans import ScanFile, find_scans
from Stage2.io.text import one_line

if TYPE_CHECKING:
    from Stage2.inference.predictor import Segmentation

logger = logging.getLogger(__name__)


class PredictionJob:
    """A request whose inputs are there; the network is imported and loaded when the first query needs it.

    Raises:
        FileNotFoundError, ValueError: the request contradicts itself, or something in it does not exist.
    """

    def __init__(self, request: Request):
        self.request = request
        self.supports = [(ScanFile(scan), ScanFile(mask)) for scan, mask in request.supports]
        self.engine = engine_for(request, self.supports)
        self.queries = self._queries()
        truth = request.truth
        if truth is not None and not truth.exists():
            raise FileNotFoundError(f"--evaluate {truth} does not exist; expected a mask, or a folder of them.")
        if truth is not None and len(self.queries) > 1 and not truth.is_dir():
            raise ValueError(f"--evaluate {truth} is one file for {len(self.queries)} queries; give a folder.")

    def run(self, progress: Callable[[Sequence[ScanFile]], Iterable[ScanFile]] = iter) -> int:
        """Segment every query; returns how many failed. Results go to the log, and all of them to results.csv.

        Raises:
            FileNotFoundError, ValueError, OSError: the supports or the network are wrong, or nothing can be written.
        """
        table, records = self.request.out / TABLE, []
        expect_own_table(table)
        if not table.exists():
            write_table(table, records)  # a folder that cannot be written is told before a network is loaded
        settings = settings_of(self.engine, self.request)
        for query in progress(self.queries):
            records.append(self._one(query, settings))
            write_table(table, records)
        failed = sum("error" in record for record in records)
        if self.request.suggest:
            self._suggest(records)
        if failed and len(records) > 1:
            logger.error("%d of %d scans failed; see %s", failed, len(records), table)
        return failed

    def _suggest(self, records: Sequence[Mapping]) -> None:
        """Name the query whose masks are least to be trusted: its annotation teaches most."""
        trusted = {record["query"]: mean_confidence(record) for record in records if record.get("labels")}
        for place, query in enumerate(sorted(trusted, key=trusted.get), start=1):
            what = "annotate next" if place == 1 else f"then, as number {place}"
            logger.info("%s: %s (mean confidence %.2f)", what, one_line(query), trusted[query])

    def _queries(self) -> list[ScanFile]:
        query, out = self.request.query, self.request.out
        asked = [query] if isinstance(query, Path) else list(query)
        found = [scan for path in asked for scan in find_scans(path)]
        shown = ", ".join(map(str, asked))
        own = {file.path.resolve() for pair in self.supports for file in pair}
        queries = [query for query in found if query.path.resolve() not in own or len(found) == 1]
        if not queries:
            raise FileNotFoundError(f"{shown} holds no scan but the supports; expected one to segment.")
        if len(queries) < len(found):
            logger.info("%d supports lie in %s too and are no queries", len(found) - len(queries), shown)
        folders = {query.path if query.path.is_dir() else query.path.parent for query in queries}
        if out.resolve() in {folder.resolve() for folder in folders}:
            raise ValueError(f"--out {out} is the folder of the queries; choose another one.")
        names = [query.name for query in queries]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"{shown} holds two scans called {twice}; rename one.")
        return queries

    def _one(self, query: ScanFile, settings: Mapping) -> dict:
        """Record of a query: done now, done before, or failed; whatever a library raises about it is one line."""
        outputs = Outputs(self.request.out, query)
        try:
            truth = None if self.request.truth is None else find_truth(self.request.truth, query)
            truth_hash = None if truth is None else hash_file(truth)
            identity = hash_of(query.content_hash(), truth_hash, *settings.items())
            done = None if self.request.force else outputs.done(identity)
            planned, inputs = self._planned(outputs), self._inputs(query, truth)
            if done is None:
                outputs.expect_own(planned, inputs)
        except Exception as error:
            return _failure(query, error)
        if done is not None:
            logger.info("%s: done before", one_line(query.name))
            return done
        predictor = self.engine.predictor  # its errors are not caught: every query would meet the same
        try:
            scan, start = query.read(), time.monotonic()
            found = predictor.segment(scan, str(query.path))
            seconds = round(time.monotonic() - start, 2)
            drawn = None if truth is None else read_truth(truth, scan, query, self.engine.labels)
            labels = self._described(found, scan, drawn)
            outputs.claim(planned, inputs)
            warnings = self._write(outputs, found, scan, drawn, labels)
            record = {
                "query": str(query.path),
                "files": [path.name for path in planned],
                "labels": labels,
                "warnings": warnings,
                "seconds": seconds,
                "identity": identity,
                "settings": dict(settings),
            }
            write_record(outputs.record, record)
        except Exception as error:
            return _failure(query, error)
        return record

    def _planned(self, outputs: Outputs) -> list[Path]:
        request = self.request
        maps = [outputs.probability(label) for label in self.engine.labels] if request.probabilities else []
        return [outputs.mask, *maps, *([outputs.page, outputs.montage] if request.report else [])]

    def _inputs(self, query: ScanFile, truth: Path | None) -> list[Path]:
        """Every file that this call reads for a query."""
        scans = [query, *(file for pair in self.supports for file in pair)]
        files = [path for scan in scans for path in (scan.path.iterdir() if scan.path.is_dir() else [scan.path])]
        return [*files, *self.engine.inputs, *([] if truth is None else [truth])]

    def _write(
        self, outputs: Outputs, found: "Segmentation", scan: sitk.Image, truth: sitk.Image | None, labels: Mapping
    ) -> list[str]:
        """Write the files of a query and tell of them in the log; returns the warnings."""
        request, name = self.request, one_line(outputs.query.name)
        warnings = [
            f"confidence in {entry['name']} is low ({entry['confidence']:.2f}, below {request.warn_below:g}): this "
            "mask may be wrong in part; look at it before you use it"
            for entry in labels.values()
            if entry["confidence"] < request.warn_below
        ]
        outputs.write_volume(outputs.mask, found.labels, scan)
        for label in found.probabilities if request.probabilities else ():  # no name keeps a map while the next is made
            outputs.write_volume(outputs.probability(label), found.probabilities[label], scan)
        if request.report:
            from Stage2.inference.pictures import pictures_of
            from Stage2.inference.report import write_report

            pictures = pictures_of(scan, found.image, truth, self.engine.axes)
            write_report(outputs, pictures, labels, self._facts(scan, outputs.query), warnings, self.engine.axes)
        for entry in labels.values():
            scores = "".join(f", {heading(own)} {entry[own]:.3f}" for own in METRICS if own in entry)
            described = f"{entry['name']} {entry['volume_ml']:.1f} ml, confidence {entry['confidence']:.2f}{scores}"
            logger.info("%s: %s", name, described)
        for line in warnings:
            logger.warning("%s: %s", name, line)
        return warnings

    def _described(self, found: "Segmentation", scan: sitk.Image, truth: sitk.Image | None) -> dict[int, dict]:
        """Label -> name, volume, confidence and, with a ground truth, scores."""
        spacing = scan.GetSpacing()[::-1]
        drawn = None if truth is None else sitk.GetArrayViewFromImage(truth)
        described = {}
        for label, confidence in found.confidence.items():
            mask = found.labels == label
            described[label] = {
                "name": self.engine.name_of(label),
                "volume_ml": round(np.count_nonzero(mask) * millilitres_of(scan), 3),
                "confidence": round(confidence, 4),
                **({"lower_bound": round(found.lower_bounds[label], 4)} if label in found.lower_bounds else {}),
                **({} if drawn is None else compute_metrics(mask, drawn == label, spacing)),
            }
        return described

    def _facts(self, scan: sitk.Image, query: ScanFile) -> dict[str, str]:
        """What the page says below its table."""
        size, spacing = (" x ".join(f"{value:.4g}" for value in own) for own in (scan.GetSize(), scan.GetSpacing()))
        voxels = f"{size} of {spacing} mm, axes {axes_of(scan)}"
        return {"query": str(query.path), "voxels": voxels, **self.engine.facts()}


def settings_of(engine: Engine, request: Request) -> dict:
    """What decides the files of a query, besides the query; a change of it makes them anew."""
    kept = ("probabilities", "report", "warn_below")
    own = {"labels": list(engine.labels), **{name: getattr(request, name) for name in kept}}
    return engine.settings() | own


def _failure(query: ScanFile, error: Exception) -> dict:
    """The record of a query that failed, with the reason in one line."""
    reason = one_line(" ".join(str(error).split())) or "no reason given"
    if not isinstance(error, OSError | ValueError):
        what = "not enough memory" if isinstance(error, MemoryError) else f"{type(error).__name__}: {reason[-200:]}"
        reason = f"{one_line(str(query.path))} cannot be segmented ({what}); check the file, or leave it out."
    logger.error("%s: %s", one_line(query.name), reason)
    return {"query": str(query.path), "error": reason}
