"""One query of a request: segmented, described and written, or one line that says why not."""

import logging
import time
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import SimpleITK as sitk

from Stage2.evaluation.metrics import METRICS, compute_metrics, heading
from Stage2.inference.engines import Engine, engine_for
from Stage2.inference.feature_cache import hash_of
from Stage2.inference.masks import find_truth, read_truth
from Stage2.inference.outputs import Outputs, read_record, write_record
from Stage2.inference.request import Request
from Stage2.io.axes import axes_of
from Stage2.io.grid import millilitres_of
from Stage2.io.scans import ScanFile
from Stage2.io.text import one_line, plain

if TYPE_CHECKING:
    from Stage2.inference.predictor import Segmentation

logger = logging.getLogger(__name__)


class QuerySegmenter:
    """Segments queries of a request; the network is imported and loaded when the first query needs it.

    Args:
        request: what is asked for.
        network: of an adapted network that is made already, for engines that would make one; None: there is none.

    Raises:
        FileNotFoundError, ValueError: the request contradicts itself, or something in it does not exist.
    """

    def __init__(self, request: Request, network: Path | None = None):
        self.request = request
        self.supports = [(ScanFile(scan), ScanFile(mask)) for scan, mask in request.supports]
        self.engine = engine_for(request, self.supports, network)

    @cached_property
    def settings(self) -> dict:
        """As `settings_of`."""
        return settings_of(self.engine, self.request)

    def __call__(self, query: ScanFile) -> dict:
        """Record of a query: done now, done before, or failed; whatever a library raises about it is one line."""
        outputs, settings = Outputs(self.request.out, query), self.settings
        try:
            truth = None if self.request.truth is None else find_truth(self.request.truth, query)
            identity = self._identity(query, truth)
            done = None if self.request.force else outputs.done(identity)
            planned, inputs = self._planned(outputs), self._inputs(query, truth)
            if done is None:
                outputs.expect_own(planned, inputs)
        except Exception as error:
            return failure(query, error)
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
            return failure(query, error)
        return record

    def is_open(self, query: ScanFile, read: bool) -> bool:
        """Whether a query is still to be done, by what its record tells or, where its files are `read`, for sure."""
        outputs = Outputs(self.request.out, query)
        record = read_record(outputs.record)
        if self.request.force or record is None or record.get("settings") != plain(self.settings):
            return True
        try:
            truth = None if self.request.truth is None else find_truth(self.request.truth, query)
            return read and outputs.done(self._identity(query, truth)) is None
        except (OSError, ValueError):  # which is told when its turn comes
            return False

    def _identity(self, query: ScanFile, truth: Path | None) -> str:
        truth_hash = None if truth is None else ScanFile(truth).content_hash()
        return hash_of(query.content_hash(), truth_hash, *self.settings.items())

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


def failure(query: ScanFile, error: Exception) -> dict:
    """The record of a query that failed, with the reason in one line."""
    reason = one_line(" ".join(str(error).split())) or "no reason given"
    if not isinstance(error, OSError | ValueError):
        what = "not enough memory" if isinstance(error, MemoryError) else f"{type(error).__name__}: {reason[-200:]}"
        reason = f"{one_line(str(query.path))} cannot be segmented ({what}); check the file, or leave it out."
    logger.error("%s: %s", one_line(query.name), reason)
    return {"query": str(query.path), "error": reason}
