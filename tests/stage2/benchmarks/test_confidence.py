"""The fit of the estimate of Dice: weights come back from cases made by them, and phantoms give cases."""

import numpy as np
import pytest

from Stage2.adaptation.confidence import SIGNS
from Stage2.benchmarks import confidence
from Stage2.benchmarks.confidence import Case, collect, describe_fit, fit


def drawn_cases(weights: np.ndarray, count: int) -> list[Case]:
    signs = np.random.default_rng(0).uniform(0, 1, (count, len(SIGNS)))
    dice = 1 / (1 + np.exp(-(weights[0] + signs @ weights[1:])))
    return [Case(dict(zip(SIGNS, own, strict=True)), float(value)) for own, value in zip(signs, dice, strict=True)]


def test_weights_come_back_but_for_the_shrinking(monkeypatch):
    monkeypatch.setattr(confidence, "SHRINKING", 0.0)
    weights = np.array([-1.0, 2.0, 1.0, 0.5, -0.5, -1.5])
    cases = drawn_cases(weights, 400)
    assert fit(cases) == pytest.approx(weights, abs=0.03)
    monkeypatch.setattr(confidence, "SHRINKING", 0.1)
    assert np.abs(fit(cases)[1:]).sum() < np.abs(weights[1:]).sum()


def test_the_description_holds_the_constants_to_write_down():
    weights = np.array([-1.0, 2.0, 1.0, 0.5, -0.5, -1.5])
    said = describe_fit(drawn_cases(weights, 50), weights)
    assert "together: r = 1.000, error 0.000" in said
    assert said.endswith("CONSTANT, WEIGHTS = -1.00, (2.00, 1.00, 0.50, -0.50, -1.50)")


def test_phantoms_give_masks_with_signs_and_dice(toy, monkeypatch):
    monkeypatch.setattr(confidence, "SIDE", 64)
    monkeypatch.setattr("Stage2.adaptation.start.DEFAULT_ENCODER", toy)
    cases = collect(["random"], 1, 1, [1, 6], seed=3)
    assert cases and all(set(case.signs) == set(SIGNS) and 0 <= case.dice <= 1 for case in cases)
