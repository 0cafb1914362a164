"""A request of many queries: every query once, one that fails does not stop the others, what is done is kept."""

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import cached_property

import numpy as np
import SimpleITK as sitk

from Stage1.files import hash_file
from Stage2.evaluation.metrics import METRICS, compute_metrics, heading
from Stage2.inference.feature_cache import FeatureCache, hash_of
from Stage2.inference.network import load_network
from Stage2.inference.outputs import TABLE, Outputs, write_record, write_table
from Stage2.inference.pictures import pictures_of
from Stage2.inference.predictor import Predictor, Segmentation, Support
from Stage2.inference.report import number, write_report
from Stage2.inference.request import Request, data_set_of, label_name, transform_for
from Stage2.inference.truth import find_truth, read_truth
from Stage2.io.axes import axes_of
from Stage2.io.scans import ScanFile, find_scans
from Stage2.run_folders.selection import resolve_choice

MM3_PER_ML = 1000.0

logger = logging.getLogger(__name__)


class Job:
    """A request whose inputs are there; the network is loaded when the first query needs it.

    Raises:
        FileNotFoundError, ValueError: the request contradicts itself, or something in it does not exist.
    """

    def __init__(self, request: Request):
        self.request = request
        self.snapshot = resolve_choice(request.checkpoint).snapshot
        if not self.snapshot.is_file():
            raise FileNotFoundError(f"{self.snapshot} does not exist; expected a snapshot (.pth) or a run folder.")
        self.data_set = data_set_of(request, self.snapshot)
        self.transform = transform_for(request, self.data_set)
        self.supports = [(ScanFile(scan), ScanFile(mask)) for scan, mask in request.supports]
        self.queries = self._queries()
        self._check_truth()

    def run(self, progress: Callable[[Sequence[ScanFile]], Iterable[ScanFile]] = iter) -> int:
        """Segment every query; returns how many failed. Results go to the log, and all of them to results.csv.

        Raises:
            FileNotFoundError, ValueError, OSError: the supports or the network are wrong, or nothing can be written.
        """
        self.request.out.mkdir(parents=True, exist_ok=True)
        settings, records = self._settings(), []
        for query in progress(self.queries):
            records.append(self._one(query, settings))
            write_table(self.request.out / TABLE, records)
        failed = sum("error" in record for record in records)
        if failed and len(records) > 1:
            logger.error("%d of %d scans failed; see %s", failed, len(records), self.request.out / TABLE)
        return failed

    @cached_property
    def predictor(self) -> Predictor:
        """The network of the snapshot with the supports."""
        request = self.request
        annotated = [Support(scan.read(), mask.read(), str(scan.path), str(mask.path)) for scan, mask in self.supports]
        network = load_network(
            self.snapshot, encoder_name=request.encoder_name, precision=request.precision, device=request.device
        )
        return Predictor(
            network,
            annotated,
            request.labels,
            self.transform,
            request.method,
            clean_up=request.clean_up,
            cache=FeatureCache(request.cache),
        )

    def _queries(self) -> list[ScanFile]:
        found = find_scans(self.request.query)
        own = {file.path.resolve() for pair in self.supports for file in pair}
        queries = [query for query in found if query.path.resolve() not in own or len(found) == 1]
        if not queries:
            raise FileNotFoundError(f"{self.request.query} holds no scan but the supports; expected one to segment.")
        if len(queries) < len(found):
            logger.info("%d supports lie in %s too and are no queries", len(found) - len(queries), self.request.query)
        if self.request.out.resolve() in {query.path.resolve().parent for query in queries if query.is_nifti}:
            raise ValueError(f"--out {self.request.out} is the folder of the queries; choose another one.")
        names = [query.name for query in queries]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"{self.request.query} holds two scans called {twice}; rename one.")
        return queries

    def _check_truth(self) -> None:
        truth = self.request.truth
        if truth is not None and not truth.exists():
            raise FileNotFoundError(f"--evaluate {truth} does not exist; expected a mask, or a folder of them.")
        if truth is not None and len(self.queries) > 1 and not truth.is_dir():
            raise ValueError(f"--evaluate {truth} is one file for {len(self.queries)} queries; give a folder.")

    def _one(self, query: ScanFile, settings: Mapping) -> dict:
        """Record of a query: done now, done before, or failed."""
        outputs = Outputs(self.request.out, query)
        try:
            identity = hash_of(query.content_hash(), self._truth_hash(query), *settings.items())
            done = None if self.request.force else outputs.done(identity)
        except OSError as error:
            return _failure(query, error)
        if done is not None:
            logger.info("%s: done before", query.name)
            return done
        predictor = self.predictor  # its errors are not caught: every query would meet the same
        outputs.record.unlink(missing_ok=True)  # of other settings: its files are about to change
        try:
            record = self._segment(query, outputs, predictor)
        except (OSError, ValueError) as error:
            return _failure(query, error)
        record |= {"identity": identity, "settings": dict(settings)}
        write_record(outputs.record, record)
        return record

    def _segment(self, query: ScanFile, outputs: Outputs, predictor: Predictor) -> dict:
        request = self.request
        scan, start = query.read(), time.monotonic()
        found = predictor.segment(scan, str(query.path))
        seconds = time.monotonic() - start
        truth = None if request.truth is None else read_truth(find_truth(request.truth, query), scan, query)
        labels = self._described(found, scan, truth)
        warnings = [
            f"confidence in {entry['name']} is low ({entry['confidence']:.2f}, below {request.warn_below:g}): this "
            "mask does not lead back to that of the support; look at it before you use it"
            for entry in labels.values()
            if entry["confidence"] < request.warn_below
        ]
        outputs.write_volume(outputs.mask, found.labels, scan)
        files = [outputs.mask]
        for label, volume in found.probabilities.items() if request.probabilities else ():
            outputs.write_volume(outputs.probability(label), volume, scan)
            files.append(outputs.probability(label))
        if request.report:
            pictures = pictures_of(scan, found.image, truth, self.transform.axes)
            write_report(outputs, pictures, labels, self._facts(scan, query), warnings, self.transform.axes)
            files += [outputs.page, outputs.montage]
        for entry in labels.values():
            scores = "".join(f", {heading(name)} {number(entry[name])}" for name in METRICS if name in entry)
            described = f"{entry['name']} {entry['volume_ml']:.1f} ml, confidence {entry['confidence']:.2f}{scores}"
            logger.info("%s: %s", query.name, described)
        for line in warnings:
            logger.warning("%s: %s", query.name, line)
        return {
            "query": str(query.path),
            "files": [path.name for path in files],
            "labels": labels,
            "warnings": warnings,
            "seconds": round(seconds, 2),
        }

    def _described(self, found: Segmentation, scan: sitk.Image, truth: sitk.Image | None) -> dict[int, dict]:
        """Label -> name, volume, confidence and, with a ground truth, scores."""
        spacing = scan.GetSpacing()[::-1]
        drawn = None if truth is None else sitk.GetArrayViewFromImage(truth)
        described = {}
        for label, confidence in found.confidence.items():
            voxels = np.count_nonzero(found.labels == label)
            described[label] = {
                "name": label_name(self.data_set, label),
                "volume_ml": round(voxels * float(np.prod(spacing)) / MM3_PER_ML, 3),
                "confidence": round(confidence, 4),
                **({} if drawn is None else compute_metrics(found.labels == label, drawn == label, spacing)),
            }
        return described

    def _facts(self, scan: sitk.Image, query: ScanFile) -> dict[str, str]:
        """What the page says below its table."""
        request = self.request
        size, spacing = (" x ".join(f"{value:.4g}" for value in own) for own in (scan.GetSize(), scan.GetSpacing()))
        return {
            "query": str(query.path),
            "voxels": f"{size} of {spacing} mm, axes {axes_of(scan)}",
            "supports": ", ".join(f"{image.path} with {mask.path}" for image, mask in self.supports),
            "snapshot": str(self.snapshot),
            "encoder": f"{self.predictor.network.model.encoder.name}, {request.precision}",
            "slices": f"matched by {request.method.matching}, {_range(request.method.margin)}",
            "clean-up": "largest piece, holes filled" if request.clean_up else "none",
        }

    def _settings(self) -> dict:
        """What decides the files of a query, besides the query; a change of it makes them anew."""
        request = self.request
        method = asdict(request.method)
        del method["slices_at_once"]
        return {
            "snapshot": str(self.snapshot),
            "snapshot_sha256": hash_file(self.snapshot),
            "supports": [[str(file.path) for file in pair] for pair in self.supports],
            "supports_sha256": [[file.content_hash() for file in pair] for pair in self.supports],
            "labels": list(request.labels),
            "names": [label_name(self.data_set, label) for label in request.labels],
            "transform": asdict(self.transform),
            "method": method,
            "clean_up": request.clean_up,
            "precision": request.precision,
            "probabilities": request.probabilities,
            "report": request.report,
            "warn_below": request.warn_below,
        }

    def _truth_hash(self, query: ScanFile) -> str | None:
        truth = self.request.truth
        return None if truth is None else hash_file(find_truth(truth, query))


def _range(margin: int | None) -> str:
    return "all looked at" if margin is None else f"looked at in the range of the organ in the support + {margin}"


def _failure(query: ScanFile, error: Exception) -> dict:
    logger.error("%s: %s", query.name, error)
    return {"query": str(query.path), "error": str(error)}
