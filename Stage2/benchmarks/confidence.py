"""Masks of phantoms, good and bad, with the signs that a network gives of them and their true Dice; and the fit."""

import copy
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize

from Stage2.adaptation.confidence import SIGNS, Reference, signs_of, spread_of
from Stage2.adaptation.inference import organ_shares
from Stage2.adaptation.settings import AdaptationSettings
from Stage2.adaptation.start import starting_network
from Stage2.adaptation.training import Adaptation, Progress
from Stage2.adaptation.working_grid import SIDES, AnnotatedSlices, labels_on_working_grid, to_working_grid
from Stage2.benchmarks.one_scan_table import correlation
from Stage2.datasets.catalog import get_dataset
from Stage2.datasets.volumes import own_statistics
from Stage2.evaluation.metrics import overlap_counts
from Stage2.io.grid import MM3_PER_ML
from Stage2.phantom.folder import CLASSES, make_scan
from Stage2.phantom.geometry import FIELD_OF_VIEW_MM, SLICE_THICKNESS_MM

DATA_SETS = {"mr": "CHAOST2", "ct": "SABS"}
SIDE, PHANTOM_SIDE = SIDES[0], 256
SHRINKING = 2e-4  # on the squares of the weights
SPACING = (SLICE_THICKNESS_MM, FIELD_OF_VIEW_MM / SIDE, FIELD_OF_VIEW_MM / SIDE)
MILLILITRES = math.prod(SPACING) / MM3_PER_ML

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Case:
    """One organ in one phantom: the signs of its mask, and its Dice."""

    signs: dict[str, float]
    dice: float


def collect(starts: Sequence[str], supports: int, queries: int, at: Sequence[int], seed: int) -> list[Case]:
    """Masks of phantoms.

    Args:
        starts: of the adaptations.
        supports: phantoms that are adapted to.
        queries: phantoms that each network segments, of its modality.
        at: steps after which they are segmented.
        seed: of the phantoms.
    """
    cases = []
    for start in starts:
        for number in range(supports):
            modality = list(DATA_SETS)[number % 2]
            support = _annotated(modality, seed, 100 * number)
            others = [_annotated(modality, seed, 100 * number + 1 + query) for query in range(queries)]
            cases += _cases(start, support, others, at)
    return cases


def fit(cases: Sequence[Case]) -> np.ndarray:
    """Constant and weights of the logit of the expected Dice, (1 + signs,): least squares, a little shrunk."""
    signs, dice = _columns(cases)

    def error(weights: np.ndarray) -> float:
        return float(np.mean((_expected(weights, signs) - dice) ** 2) + SHRINKING * np.sum(weights[1:] ** 2))

    return minimize(error, np.zeros(1 + len(SIGNS)), method="L-BFGS-B").x


def describe_fit(cases: Sequence[Case], weights: np.ndarray) -> str:
    """The constants to write down, and how well they fit."""
    signs, dice = _columns(cases)
    expected = _expected(weights, signs)
    lines = [f"{len(cases)} masks, Dice {dice.mean():.3f} on average, from {dice.min():.3f} to {dice.max():.3f}"]
    lines += [f"{name}: r = {correlation(own, dice):.3f}" for name, own in zip(SIGNS, signs.T, strict=True)]
    lines.append(f"together: r = {correlation(expected, dice):.3f}, error {np.abs(expected - dice).mean():.3f}")
    listed = ", ".join(f"{weight:.2f}" for weight in weights[1:])
    return "\n".join([*lines, f"CONSTANT, WEIGHTS = {weights[0]:.2f}, ({listed})"])


def _columns(cases: Sequence[Case]) -> tuple[np.ndarray, np.ndarray]:
    """Signs, (N, signs), and Dice, (N,), of all cases."""
    return np.array([[case.signs[name] for name in SIGNS] for case in cases]), np.array([case.dice for case in cases])


def _expected(weights: np.ndarray, signs: np.ndarray) -> np.ndarray:
    """Expected Dice, (N,), as `Stage2.adaptation.confidence.combine` has it with these weights."""
    return 1 / (1 + np.exp(-(weights[0] + signs @ weights[1:])))


def _annotated(modality: str, seed: int, index: int) -> AnnotatedSlices:
    image, label = make_scan(modality, seed, index, PHANTOM_SIDE)
    own = own_statistics(image)
    voxels = (image - own.mean) / own.std
    values = [get_dataset(DATA_SETS[modality]).classes[name] for name in CLASSES[DATA_SETS[modality]]]
    masks = {value: label == value for value in values}
    return AnnotatedSlices(f"phantom {index}", to_working_grid(voxels, SIDE), *labels_on_working_grid(masks, SIDE))


def _cases(start: str, support: AnnotatedSlices, others: Sequence[AnnotatedSlices], at: Sequence[int]) -> list[Case]:
    organs = support.known.shape[1]
    settings = AdaptationSettings(minutes=None, steps=max(at))
    network = starting_network(start, None, [support], organs, settings.seed)
    adaptation = Adaptation(network, start, [support], [], settings)
    drawn = [(support.labels == organ).numpy() for organ in range(1, organs + 1)]
    volumes = [np.count_nonzero(mask) * MILLILITRES for mask in drawn]
    spreads = [spread_of(mask, SPACING) if mask.any() else () for mask in drawn]
    reference = Reference(
        tuple((volume, volume) for volume in volumes),
        spreads=tuple(tuple((axis, axis) for axis in own) for own in spreads),
    )
    cases: list[Case] = []

    def segment(progress: Progress) -> None:
        if progress.steps not in at:
            return
        average = copy.deepcopy(network)
        average.load_state_dict(adaptation.weights())
        average.eval()
        for other in others:
            shares = organ_shares(average, other.images)
            labels = shares.max(dim=1).indices
            found = signs_of(average, other.images, shares, reference, SPACING)
            for organ, signs in enumerate(found, start=1):
                drawn, mask = (own == organ for own in (other.labels.numpy(), labels.numpy()))
                if signs is not None and drawn.any():
                    cases.append(Case(signs, overlap_counts(mask, drawn).dice))
        logger.info("%s, %s, step %d: %d masks", start, support.name, progress.steps, len(cases))

    adaptation.run(report=segment)
    return cases
