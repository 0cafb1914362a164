"""A request to adapt: what is done is kept, what was interrupted goes on, and the file appears whole or not at all."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from os.path import realpath
from pathlib import Path
from typing import TYPE_CHECKING, Any

import SimpleITK as sitk

from Stage1.files import expect_writable
from Stage2.adaptation.settings import RANDOM_START, SUFFIX, AdaptationSettings, identity_of_start, starting_file
from Stage2.inference.request import Preparation
from Stage2.inference.transform import data_set_of, label_name, transform_for
from Stage2.io.scans import ScanFile, find_scans
from Stage2.io.text import plain
from Stage2.run_folders.layout import read_config, run_of

if TYPE_CHECKING:
    from Stage2.adaptation.training import Progress
    from Stage2.inference.adapted_predictor import Adapted
    from Stage2.inference.examples import Example

SAY_EVERY = 10.0  # seconds between lines of progress
AIR_HU = -200  # and below
FEWEST_FOR_BOUND = 4  # examples: of fewer, no error ranks high enough for a bound that four of five scans reach
UNBOUNDED = "lower_bounds_missing"  # in the description of a file that is finished but for them

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class AdaptRequest(Preparation):
    """Everything that a call asks for.

    Attributes:
        supports: scans with their masks.
        out: file to write, .safetensors.
        labels: to segment; None: all that the masks show.
        unlabelled: scan, or folder of scans, whose labels nobody knows; None: there are none.
        start: "random", a snapshot, a file of weights, or an adapted network to go on with; None: the starting network
            of the repository, or random weights where that is not there or another encoder is asked for.
        settings: budget, seed and method.
        annotated: for every support, its annotated slices, see `Example`; empty: all of all.
        lower_bound: also adapt to all examples but one, each in turn, to learn how far estimates are off.
        device, threads: of the network.
        force: do again what is done.
    """

    supports: Sequence[tuple[Path, Path]]
    out: Path
    labels: Sequence[int] | None = None
    unlabelled: Path | None = None
    start: str | None = None
    settings: AdaptationSettings = field(default_factory=AdaptationSettings)
    annotated: Sequence[Sequence[int] | str | None] = ()
    lower_bound: bool = False
    device: str = "auto"
    threads: int | None = None
    force: bool = False


class AdaptJob:
    """A request whose inputs are there; the network is loaded when the work begins.

    Raises:
        FileNotFoundError, ValueError: the request contradicts itself, or something in it does not exist.
    """

    def __init__(self, request: AdaptRequest):
        self.request = request
        if not request.supports:
            raise ValueError("no support was given; expected at least one annotated scan.")
        if request.annotated and len(request.annotated) != len(request.supports):
            raise ValueError(
                f"{len(request.annotated)} times --annotated-slices for {len(request.supports)} supports; give it once "
                "for each, in the same order."
            )
        self.supports = [(ScanFile(scan), ScanFile(mask)) for scan, mask in request.supports]
        self.start = starting_file(request.start, request.settings.encoder)
        config = {} if self.start == RANDOM_START else read_config(run_of(self.start))
        self.data_set = data_set_of(request, config)
        known = request if request.modality or self.data_set else replace(request, modality=self._guessed_modality())
        self.transform = transform_for(known, self.data_set)
        own = {realpath(file.path) for pair in self.supports for file in pair}
        found = [] if request.unlabelled is None else find_scans(request.unlabelled)
        self.unlabelled = [scan for scan in found if realpath(scan.path) not in own]
        if realpath(request.out) in own | {realpath(scan.path) for scan in self.unlabelled}:
            raise ValueError(f"--out {request.out} is an input; choose another name.")

    def run(self, out: Path | None = None, report: Callable[["Progress"], None] | None = None) -> bool:
        """Adapt, and write the file; returns whether the budget was used, which Ctrl-C prevents.

        Lower bounds come last: the file is there before, and the same call goes on to them.

        Args:
            out: the file; None: that of the request.
            report: called after every step, besides what goes to the log.

        Raises:
            FileNotFoundError, ValueError, OSError: an input is wrong, or nothing can be written.
            KeyboardInterrupt: Ctrl-C while lower bounds were looked for.
        """
        is_own, request, out = out is None, self.request, out or self.request.out
        kept = self._kept(out)
        from Stage2.adaptation.network_file import ADAPTED, write_network
        from Stage2.inference.adapted_predictor import load_adapted

        if kept is not None and not kept.get(UNBOUNDED):
            logger.info("%s: done before (%d steps)", out, kept["steps"])
            names = self._names(kept["labels"])
            if is_own and request.dataset is not None and kept.get("names") != names:
                adapted = load_adapted(out)
                write_network(out, ADAPTED, adapted.network, adapted.description() | {"names": names})
            return True
        expect_writable(out.parent)
        if kept is None:
            state_file = out.with_name(f".{out.name.removesuffix(SUFFIX)}.state.pth")
            if request.force:
                state_file.unlink(missing_ok=True)
            adapted = self.adapt(state_file, report)
            described = adapted.described
            finished = described["finished"]
            unbounded = {UNBOUNDED: True} if finished and request.lower_bound else {}
            write_network(out, ADAPTED, adapted.network, adapted.description() | unbounded)
            logger.info("%s: %d steps, %.1f minutes of processor time", out, described["steps"], described["minutes"])
            if not finished:
                return False
            state_file.unlink(missing_ok=True)
        else:
            adapted = load_adapted(out)
            del adapted.described[UNBOUNDED]
        if request.lower_bound:
            adapted = self._with_errors(adapted)
            write_network(out, ADAPTED, adapted.network, adapted.description())
        return True

    def adapt(self, state_file: Path | None, report: Callable[["Progress"], None] | None = None) -> "Adapted":
        """The adapted network, which is not written; arguments and errors as of `run`."""
        from Stage2.inference.adapting import adapt_network
        from Stage2.models.devices import choose_device

        device = choose_device(self.request.device, self.request.threads)
        examples = self._examples()
        labels = self._labels(examples)
        if self.request.lower_bound:
            _expect_enough(examples, labels)
        adapted = adapt_network(
            examples, labels, self.transform, self.start, self.request.settings,
            unlabelled=[(str(scan.path), scan.read()) for scan in self.unlabelled], state_file=state_file,
            identity=self.identity, device=device, report=_Reporter(report),
        )  # fmt: skip
        return replace(adapted, described={**adapted.described, "names": self._names(adapted.labels)})

    @cached_property
    def labels(self) -> list[int]:
        """That are asked for, or all that the masks show."""
        return self._labels([] if self.request.labels is not None else self._examples())

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What decides the adapted network, as plain values; the files are read for it once."""
        request = self.request
        described = {
            "start": identity_of_start(self.start),
            "supports": [[file.content_hash() for file in pair] for pair in self.supports],
            "unlabelled": sorted(scan.content_hash() for scan in self.unlabelled),
            "labels": request.labels,
            "transform": asdict(self.transform),
            "settings": asdict(request.settings),
            "annotated": request.annotated,
            "lower_bound": request.lower_bound,
        }
        return plain(described)

    def _names(self, labels: Sequence[int]) -> list[str]:
        return [label_name(self.data_set, label) for label in labels]

    def _guessed_modality(self) -> str:
        """CT where voxels are as dark as air in Hounsfield units, else MR."""
        darkest = float(sitk.GetArrayFromImage(self.supports[0][0].read()).min())
        modality = "CT" if darkest <= AIR_HU else "MR"
        logger.info("%s is taken for %s; --modality says otherwise", self.supports[0][0].path, modality)
        return modality

    def _kept(self, out: Path) -> dict[str, Any] | None:
        """The description of what an earlier call adapted with the same; what it left half done is done on."""
        identity = self.identity  # an input that is not there is told first
        from Stage2.adaptation.network_file import own_at

        described = own_at(out)
        if described is None or self.request.force:
            return None
        if described.get("identity") != identity:
            raise FileExistsError(
                f"{out} is adapted to something else, or otherwise; choose another --out, or write it anew by --force."
            )
        return described if described.get("finished") else None

    def _examples(self) -> list["Example"]:
        from Stage2.inference.examples import Example
        from Stage2.inference.predictor import Support

        annotated = self.request.annotated or [None] * len(self.supports)
        return [
            Example(Support(scan.read(), mask.read(), str(scan.path), str(mask.path)), own)
            for (scan, mask), own in zip(self.supports, annotated, strict=True)
        ]

    def _labels(self, examples: Sequence["Example"]) -> list[int]:
        from Stage2.inference.examples import labels_of

        return list(self.request.labels) if self.request.labels is not None else labels_of(examples)

    def _with_errors(self, adapted: "Adapted") -> "Adapted":
        """The network with what its estimates were off by in every example, by a network that had not seen it."""
        import numpy as np

        from Stage2.evaluation.metrics import compute_metrics
        from Stage2.inference.adapted_predictor import AdaptedPredictor
        from Stage2.inference.adapting import adapt_network
        from Stage2.inference.examples import is_whole, labels_of
        from Stage2.inference.predictor import on_grid
        from Stage2.models.devices import choose_device

        examples, errors = self._examples(), {label: [] for label in adapted.labels}
        for place, left_out in enumerate(examples):
            if not is_whole(left_out, adapted.labels):
                continue  # its mask does not tell its Dice
            logger.info("lower bound: without example %d of %d", place + 1, len(examples))
            others = examples[:place] + examples[place + 1 :]
            try:
                shown = labels_of(others)
                labels = [label for label in adapted.labels if label in shown]
                other = adapt_network(
                    others, labels, adapted.transform, self.start, self.request.settings,
                    device=choose_device(self.request.device), report=_Reporter(),
                )  # fmt: skip
                if not other.described["finished"]:
                    raise KeyboardInterrupt
                support = on_grid(left_out.support)
                found = AdaptedPredictor(other).segment(support.scan, support.name)
            except ValueError as error:
                logger.warning("lower bound: without example %d nothing is learned: %s", place + 1, error)
                continue
            drawn = sitk.GetArrayViewFromImage(support.mask)
            for label in labels:
                score = compute_metrics(found.labels == label, drawn == label, (1.0, 1.0, 1.0), ["dice"])["dice"]
                if np.isfinite(score):
                    errors[label].append(found.confidence[label] - score)
        for label, own in errors.items():
            if len(own) < FEWEST_FOR_BOUND:
                what = f"{len(own)} examples tell of it, of {FEWEST_FOR_BOUND} that are needed"
                logger.warning("label %d gets no lower bound: %s", label, what)
        ranked = tuple(tuple(sorted(errors[label])) for label in adapted.labels)
        return replace(adapted, reference=replace(adapted.reference, errors=ranked))


def _expect_enough(examples: Sequence["Example"], labels: Sequence[int]) -> None:
    """Refuse to look for lower bounds, before minutes are spent, where too few masks tell a Dice."""
    from Stage2.inference.examples import is_whole

    whole = sum(is_whole(one, labels) for one in examples)
    if whole < FEWEST_FOR_BOUND:
        raise ValueError(
            f"--lower-bound needs {FEWEST_FOR_BOUND} annotated scans or more, and there are {whole} in which every "
            "slice is annotated and no voxel unknown; annotate more, or leave it out."
        )


class _Reporter:
    """Says every few seconds how far an adaptation is, and tells whoever else asks after every step."""

    def __init__(self, also: Callable[["Progress"], None] | None = None):
        self.said, self.also = time.monotonic(), also

    def __call__(self, progress: "Progress") -> None:
        if self.also is not None:
            self.also(progress)
        if time.monotonic() - self.said < SAY_EVERY and progress.share < 1:
            return
        self.said = time.monotonic()
        left = "" if progress.seconds_left is None else f", {progress.seconds_left:.0f} s of processor time left"
        logger.info("step %d: loss %.3f, %.0f %% done%s", progress.steps, progress.loss, 100 * progress.share, left)
