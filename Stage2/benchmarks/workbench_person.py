"""How a person draws organs in a scan, from its true labels: outlines with few corners, interpolation, corrections."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import cv2
import numpy as np
from scipy.ndimage import distance_transform_edt

TOLERANCE = 1.0  # pixels by which an outline of a hand may leave the organ's
SMALLEST = 12  # pixels of a piece that is drawn
WELL_ENOUGH = 0.85  # Dice of an organ in a slice that nobody corrects
SECONDS_A_STROKE, MM_A_SECOND = 2.0, 30.0  # assumptions: to begin an outline, to follow it
SECONDS_A_CLICK = 2.0  # likewise


@dataclass(frozen=True)
class Effort:
    """What a person has done.

    Attributes:
        strokes: outlines drawn with the mouse.
        clicks: on organs, on buttons.
        length: of the outlines, mm.
    """

    strokes: int = 0
    clicks: int = 0
    length: float = 0.0

    def __add__(self, other: "Effort") -> "Effort":
        sums = (self.strokes + other.strokes, self.clicks + other.clicks, self.length + other.length)
        return Effort(*sums)

    @property
    def minutes(self) -> float:
        seconds = SECONDS_A_STROKE * self.strokes + self.length / MM_A_SECOND + SECONDS_A_CLICK * self.clicks
        return seconds / 60


def outlined(mask: np.ndarray, pixel: float) -> tuple[np.ndarray, Effort]:
    """A slice of an organ as a hand draws it: an outline around each piece, filled.

    Args:
        mask: (H, W) bool.
        pixel: its side, mm.
    """
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    drawn, effort = np.zeros(mask.shape, np.uint8), Effort()
    for contour in contours:
        if cv2.contourArea(contour) < SMALLEST:
            continue
        rough = cv2.approxPolyDP(contour, TOLERANCE, closed=True)
        cv2.fillPoly(drawn, [rough], 1)
        effort += Effort(strokes=1, length=float(cv2.arcLength(rough, closed=True)) * pixel)
    return drawn.astype(bool), effort


def drawn_organs(truth: np.ndarray, labels: Sequence[int], every: int, pixel: float) -> tuple[np.ndarray, Effort]:
    """Organs drawn in every n-th slice, the first and the last, and interpolated between.

    Args:
        truth: (Z, H, W).
        labels: to draw.
        every: slices from one that is drawn to the next.
        pixel: side of a pixel, mm.
    """
    result, effort = np.zeros(truth.shape, np.uint8), Effort()
    for label in labels:
        shown = np.flatnonzero((truth == label).any(axis=(1, 2)))
        if not len(shown):
            continue
        places = sorted({*range(shown[0], shown[-1] + 1, every), int(shown[-1])})
        slices = {}
        for place in places:
            slices[place], own = outlined(truth[place] == label, pixel)
            effort += own
        result[(interpolated(slices, truth.shape) > 0) & (result == 0)] = label
        effort += Effort(clicks=2)  # the organ, and "interpolate"
    return result, effort


def interpolated(slices: dict[int, np.ndarray], shape: Sequence[int]) -> np.ndarray:
    """A mask (Z, H, W) between drawn slices, by the signed distance to their edges."""
    result, places = np.zeros(shape, bool), sorted(slices)
    for place in places:
        result[place] = slices[place]
    for below, above in pairwise(places):
        first, last = (_signed_distance(slices[place]) for place in (below, above))
        for place in range(below + 1, above):
            share = (place - below) / (above - below)
            result[place] = (1 - share) * first + share * last > 0
    return result


def corrected(
    mask: np.ndarray, truth: np.ndarray, labels: Sequence[int], every: int, pixel: float
) -> tuple[np.ndarray, Effort]:
    """A mask of a network in which organs are drawn anew where they are wrong: those slices alone that need it.

    Of consecutive slices that need it, every n-th is drawn and the others are interpolated; arguments as of
    `drawn_organs`.
    """
    result, effort = mask.copy(), Effort()
    for label in labels:
        wrong = [place for place in range(len(truth)) if _needs_it(mask[place] == label, truth[place] == label)]
        slices: dict[int, np.ndarray] = {}
        for run in _runs(wrong):
            for place in sorted({*run[::every], run[-1]}):
                slices[place], own = outlined(truth[place] == label, pixel)
                effort += own
        between = interpolated(slices, truth.shape)
        for place in wrong:
            result[place][result[place] == label] = 0
            result[place][between[place] & (result[place] == 0)] = label
        effort += Effort(clicks=2 if wrong else 0)
    return result, replace(effort, clicks=effort.clicks + 1)  # "use as example"


def _needs_it(found: np.ndarray, true: np.ndarray) -> bool:
    total = np.count_nonzero(found) + np.count_nonzero(true)
    return total > SMALLEST and 2 * np.count_nonzero(found & true) / total < WELL_ENOUGH


def _runs(places: Sequence[int]) -> list[list[int]]:
    """Consecutive numbers together."""
    runs: list[list[int]] = []
    for place in places:
        if runs and place == runs[-1][-1] + 1:
            runs[-1].append(place)
        else:
            runs.append([place])
    return runs


def _signed_distance(mask: np.ndarray) -> np.ndarray:
    if not mask.any():
        return np.full(mask.shape, -1.0)
    return distance_transform_edt(mask) - distance_transform_edt(~mask)
