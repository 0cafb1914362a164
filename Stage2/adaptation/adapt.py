"""Adapting on the working grid: annotated slices in, a network out. Users' scans and tests of protocols come here."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from Stage2.adaptation.network import AdaptedNetwork, image_size_of
from Stage2.adaptation.network_file import describe_file
from Stage2.adaptation.settings import RANDOM_START, AdaptationSettings
from Stage2.adaptation.start import encoder_of, starting_network
from Stage2.adaptation.training import Adaptation, Progress
from Stage2.adaptation.working_grid import AnnotatedSlices


@dataclass(frozen=True)
class AdaptedWeights:
    """What an adaptation gave.

    Attributes:
        network: in evaluation mode.
        steps: of the optimiser that were done.
        minutes: of processor time that they took.
        finished: the budget was used; not after an interruption.
    """

    network: AdaptedNetwork
    steps: int
    minutes: float
    finished: bool


def adapt_slices(
    scans: Sequence[AnnotatedSlices], organs: int, start: str | Path, settings: AdaptationSettings, *,
    unlabelled: Sequence[Tensor] = (), state_file: Path | None = None, identity: Mapping[str, Any] | None = None,
    device: torch.device | str = "cpu", report: Callable[[Progress], None] = lambda progress: None,
) -> AdaptedWeights:  # fmt: skip
    """Adapt a network to annotated slices.

    Args:
        scans: annotated scans on the working grid.
        organs: that their labels tell apart.
        start: "random", or a file of weights.
        settings: budget, seed and method.
        unlabelled: (Z, S, S) each: scans whose labels nobody knows.
        state_file, identity: see `Adaptation.run`.
        device: where the network runs.
        report: called after every step.

    Raises:
        FileNotFoundError, ValueError: the start does not fit, or no slice shows an organ.
        OSError: the state cannot be written.
    """
    begun = time.process_time()
    with torch.random.fork_rng(devices=[]):  # the caller's own random numbers go on as they would have
        network = starting_network(start, settings.encoder, scans, organs, settings.seed).to(device)
    adaptation = Adaptation(network, start, scans, unlabelled, settings)
    adaptation.spent = time.process_time() - begun  # the budget holds the preparation of the network too
    finished = adaptation.run(state_file, identity, report)
    return AdaptedWeights(adaptation.adapted(), adaptation.learner.steps, adaptation.spent / 60, finished)


def side_for(start: str | Path, encoder: str | None) -> int | None:
    """The side that an encoder asks for: that of its image size, which a ViT has; None where any will do.

    Args:
        start: "random", or a file of weights.
        encoder: one of `ENCODERS`; None: that of the start.

    Raises:
        FileNotFoundError, ValueError: the file is missing or damaged, or its encoder is not known.
    """
    if encoder is None and start != RANDOM_START:
        described = describe_file(Path(start))
        encoder = encoder_of(Path(start)) if described is None else described.get("encoder")
    return None if encoder is None else image_size_of(encoder)
