"""The two engines of adapted networks: one that is adapted already, and one that a request adapts first."""

import logging
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from Stage1.files import hash_file
from Stage2.adaptation.settings import MINUTES, SUFFIX, AdaptationSettings
from Stage2.inference.adapt_job import AdaptJob, AdaptRequest
from Stage2.inference.feature_cache import hash_of, mark_used, prune
from Stage2.inference.request import Preparation, Request
from Stage2.inference.transform import data_set_of, label_name
from Stage2.run_folders.layout import ADAPTED

if TYPE_CHECKING:
    from Stage2.inference.adapted_predictor import AdaptedPredictor

logger = logging.getLogger(__name__)


class _AdaptedEngine:
    """What both engines with an adapted network share."""

    predictor: "AdaptedPredictor"

    def facts(self) -> dict[str, str]:
        adapted = self.predictor.adapted
        own = adapted.described
        pairs = (f"{pair['scan']} with {pair['mask']}" for pair in own["supports"])
        return {
            "method": "adapted network",
            "supports": ", ".join(pairs),
            "start": own["start"],
            "adapted": f"{own['steps']} steps, {own['minutes']:.1f} minutes of processor time",
            "encoder": adapted.network.encoder_name,
            "clean-up": "largest piece",
        }


class AdaptedFileEngine(_AdaptedEngine):
    """A network that is adapted already; no support is needed."""

    def __init__(self, request: Request):
        from Stage2.adaptation.network_file import choose_labels, describe_file

        given = [name for name, default in vars(Preparation()).items() if getattr(request, name) != default]
        given = [name for name in given if name != "dataset"]
        if given:
            raise ValueError(
                f"--{given[0].replace('_', '-')}: {request.checkpoint} says itself how scans are prepared; leave it "
                "out."
            )
        described = describe_file(request.checkpoint) or {}
        if request.encoder_name not in (None, described.get("encoder")):
            raise ValueError(
                f"{request.checkpoint} is a network of {described.get('encoder')}, not of {request.encoder_name}; "
                "leave --modelname out."
            )
        self.request, self.inputs = request, [request.checkpoint]
        try:
            self.axes, known = described["transform"]["axes"], list(described["labels"])
            self._names = dict(zip(known, described.get("names", ()), strict=False))
        except (KeyError, TypeError):
            raise ValueError(f"{request.checkpoint} has a damaged description; adapt anew, or copy it again.") from None
        self.labels = list(choose_labels(request.labels, known))
        self._named = None if request.dataset is None else data_set_of(request, {})

    def name_of(self, label: int) -> str:
        """As the file says, unless a data set is named."""
        if self._named is None and label in self._names:
            return self._names[label]
        return label_name(self._named, label)

    @cached_property
    def predictor(self) -> "AdaptedPredictor":
        from Stage2.inference.adapted_predictor import AdaptedPredictor, load_adapted
        from Stage2.models.devices import choose_device

        device = choose_device(self.request.device, self.request.threads)
        adapted = load_adapted(self.request.checkpoint, device)
        return AdaptedPredictor(adapted, self.labels, slices_at_once=self.request.method.slices_at_once)

    def settings(self) -> dict[str, Any]:
        checkpoint = self.request.checkpoint
        return {
            "approach": ADAPTED,
            "adapted": str(checkpoint),
            "adapted_sha256": hash_file(checkpoint),
            "names": [self.name_of(label) for label in self.labels],
        }


class AdaptingEngine(_AdaptedEngine):
    """A network that is adapted to the supports first, and kept under a hash of all that decides it."""

    def __init__(self, request: Request, network: Path | None = None):
        self.request, self.network = request, network
        minutes = MINUTES if request.adapt is None else request.adapt
        preparation = {name: getattr(request, name) for name in vars(Preparation())}
        self.job = AdaptJob(
            AdaptRequest(
                **preparation, supports=request.supports, out=Path("adapted" + SUFFIX), labels=request.labels,
                start=None if request.checkpoint is None else str(request.checkpoint),
                settings=AdaptationSettings(minutes=minutes, encoder=request.encoder_name), device=request.device,
                threads=request.threads,
            )
        )  # fmt: skip
        self.axes = self.job.transform.axes
        self.inputs = [] if request.checkpoint is None else [Path(self.job.start)]

    @property
    def labels(self) -> list[int]:
        return self.job.labels

    def name_of(self, label: int) -> str:
        """As this request says, whatever the request said that filled the cache."""
        return label_name(self.job.data_set, label)

    @cached_property
    def predictor(self) -> "AdaptedPredictor":
        from Stage2.inference.adapted_predictor import AdaptedPredictor, load_adapted
        from Stage2.models.devices import choose_device

        device = choose_device(self.request.device, self.request.threads)
        network = self.network or self.make()
        if network is not None:
            adapted = load_adapted(network, device)
        else:
            adapted = self.job.adapt(None)
            if not adapted.described["finished"]:
                raise KeyboardInterrupt
        return AdaptedPredictor(adapted, slices_at_once=self.request.method.slices_at_once)

    def make(self, otherwise: Path | None = None) -> Path | None:
        """Adapt the network, unless it is in the cache; returns its file.

        Args:
            otherwise: the file where there is no cache, or none that can be written; None: nothing is adapted then.
        """
        kept = self._in_cache()
        if kept is None and otherwise is not None and not self.job.run(otherwise):
            raise KeyboardInterrupt
        return kept or otherwise

    def _in_cache(self) -> Path | None:
        """The network in the cache, adapted now or before; a cache that cannot be written is passed over."""
        if self.request.cache is None:
            return None
        identity = self.job.identity  # an input that is not there is not the cache's fault
        kept = self.request.cache / ADAPTED / f"{hash_of(*identity.items())}{SUFFIX}"
        try:
            _remove_damaged(kept)
            finished = self.job.run(kept)
        except OSError as error:
            logger.warning("the adapted network is not kept: %s", error)
            return None
        if not finished:
            raise KeyboardInterrupt
        mark_used(kept)
        with suppress(OSError):
            prune(kept.parent, f"*{SUFFIX}")
        return kept

    def settings(self) -> dict[str, Any]:
        supports = [[str(file.path) for file in pair] for pair in self.job.supports]
        names = [self.name_of(label) for label in self.labels]
        own = {"approach": ADAPTED, "start": self.job.start, "supports_paths": supports, "names": names}
        return own | self.job.identity


def _remove_damaged(kept: Path) -> None:
    """Remove what is no network, or one of another version, from the cache, so that it is made anew."""
    from Stage2.adaptation.network_file import names_adapted

    try:
        whole = not kept.exists() or names_adapted(kept)
    except ValueError:
        whole = False
    if not whole:
        kept.unlink()
