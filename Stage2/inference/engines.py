"""The engine that a request means: prototypes of a snapshot, which are here, or an adapted network."""

from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from Stage1.files import hash_file
from Stage2.adaptation.settings import SUFFIX
from Stage2.inference.adapted_engines import AdaptedFileEngine, AdaptingEngine
from Stage2.inference.feature_cache import FeatureCache
from Stage2.inference.request import Request
from Stage2.inference.transform import data_set_of, label_name, transform_for
from Stage2.io.scans import ScanFile
from Stage2.run_folders.layout import PROTOTYPES, read_config, run_of
from Stage2.run_folders.selection import resolve_choice

if TYPE_CHECKING:
    import SimpleITK as sitk

    from Stage2.inference.predictor import Predictor, Segmentation


class Segmenter(Protocol):
    """What segments a query: `Predictor`, or `AdaptedPredictor`."""

    def segment(self, query: "sitk.Image", name: str = ...) -> "Segmentation": ...


class Engine(Protocol):
    """One way to do a request; nothing heavy is imported before `predictor` is asked for.

    Attributes:
        axes: in which slices are shown to the network.
        labels: to segment.
        inputs: files that it reads, besides queries.
        predictor: with its network loaded; its errors concern every query.
    """

    axes: str
    labels: list[int]
    inputs: list[Path]
    predictor: Segmenter

    def name_of(self, label: int) -> str:
        """Name of an organ."""

    def settings(self) -> dict[str, Any]:
        """What decides the masks of a query, besides the query."""

    def facts(self) -> dict[str, str]:
        """What the page says of the method."""


def engine_for(
    request: Request, supports: list[tuple[ScanFile, ScanFile]], network: Path | None = None
) -> Engine:  # fmt: skip
    """The engine that a request means.

    Args:
        request: what is asked for.
        supports: scans with their masks.
        network: that is adapted to them already, for an engine that would adapt one; None: there is none.

    Raises:
        FileNotFoundError, ValueError: the request contradicts itself, or something in it does not exist.
    """
    file, is_adapted = request.checkpoint, False
    if request.method.query_prototypes and request.approach != PROTOTYPES:
        raise ValueError("--query-prototypes adds to prototypes; add --method prototypes, or leave it out.")
    if file is not None and file.name.endswith(SUFFIX):
        from Stage2.adaptation.network_file import names_adapted

        is_adapted = names_adapted(file)
    if is_adapted and not supports:
        if request.approach == PROTOTYPES:
            raise ValueError(f"{file} is an adapted network and has no prototypes; leave --method out.")
        if request.adapt is not None:
            raise ValueError("--adapt needs --support SCAN MASK, an annotated scan; give one, or leave it out.")
        return AdaptedFileEngine(request)
    if not supports and file is not None and not file.exists():
        raise FileNotFoundError(f"{file} does not exist; expected a network of tools/adapt.py, or --support SCAN MASK.")
    if not supports:
        found = "" if file is None else f", which {file} is not, or damaged"
        raise ValueError(f"--support SCAN MASK is missing: only a network of tools/adapt.py does without it{found}.")
    if is_adapted and request.adapt is None:
        raise ValueError(
            f"{file} is adapted already; leave --support out, or let it go on with these scans by --adapt MINUTES."
        )
    if request.approach == PROTOTYPES:
        if request.adapt is not None:
            raise ValueError("--adapt and --method prototypes contradict each other; leave one out.")
        return PrototypeEngine(request, supports)
    return AdaptingEngine(request, network)


class PrototypeEngine:
    """Prototypes of the supports, by a snapshot of Stage 2."""

    def __init__(self, request: Request, supports: list[tuple[ScanFile, ScanFile]]):
        if request.checkpoint is None:
            raise ValueError("--method prototypes needs --checkpoint SNAPSHOT, of a training of Stage 2.")
        if request.labels is None:
            raise ValueError("--method prototypes needs --label, the values in the masks to segment.")
        self.request, self.supports, self.labels = request, supports, list(request.labels)
        self.snapshot = resolve_choice(request.checkpoint).snapshot
        if not self.snapshot.is_file():
            raise FileNotFoundError(f"{self.snapshot} does not exist; expected a snapshot (.pth) or a run folder.")
        self.data_set = data_set_of(request, read_config(run_of(self.snapshot)))
        self.transform = transform_for(request, self.data_set)
        self.axes = self.transform.axes
        self.inputs = [self.snapshot]

    @cached_property
    def predictor(self) -> "Predictor":
        from Stage2.inference.network import load_network
        from Stage2.inference.predictor import Predictor, Support
        from Stage2.models.devices import choose_device

        request = self.request
        device = choose_device(request.device, request.threads)
        annotated = [Support(scan.read(), mask.read(), str(scan.path), str(mask.path)) for scan, mask in self.supports]
        network = load_network(
            self.snapshot, encoder_name=request.encoder_name, precision=request.precision, device=device
        )
        given = (network, annotated, self.labels, self.transform, request.method)
        return Predictor(*given, clean_up=request.clean_up, cache=FeatureCache(request.cache))

    def name_of(self, label: int) -> str:
        return label_name(self.data_set, label)

    def settings(self) -> dict[str, Any]:
        method = asdict(self.request.method)
        del method["slices_at_once"]
        if not method["query_prototypes"]:  # absent, as in records of the time before it
            del method["query_prototypes"]
        return {
            "approach": PROTOTYPES,
            "snapshot": str(self.snapshot),
            "snapshot_sha256": hash_file(self.snapshot),
            "supports": [[str(file.path) for file in pair] for pair in self.supports],
            "supports_sha256": [[file.content_hash() for file in pair] for pair in self.supports],
            "names": [self.name_of(label) for label in self.labels],
            "transform": asdict(self.transform),
            "method": method,
            "clean_up": self.request.clean_up,
            "precision": self.request.precision,
        }

    def facts(self) -> dict[str, str]:
        request, margin = self.request, self.request.method.margin
        most = request.method.query_prototypes
        looked = "all looked at" if margin is None else f"looked at in the range of the organ in the support + {margin}"
        return {
            "method": PROTOTYPES,
            "supports": ", ".join(f"{image.path} with {mask.path}" for image, mask in self.supports),
            "snapshot": str(self.snapshot),
            "encoder": f"{self.predictor.network.model.encoder.name}, {request.precision}",
            "slices": f"matched by {request.method.matching}, {looked}",
            **({"prototypes of the query": f"up to {most} of a class"} if most else {}),
            "clean-up": "largest piece, holes filled" if request.clean_up else "none",
        }
