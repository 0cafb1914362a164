"""Pre-training of the starting network on drawn slices: by steps, resumable, the same again for the same seed."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from Stage1.files import hash_file
from Stage1.processes import run_jobs
from Stage1.weights.backbones import load_backbone
from Stage1.weights.checkpoints import read_checkpoint, write_checkpoint
from Stage2.adaptation.learner import Learner
from Stage2.adaptation.network import AdaptedNetwork
from Stage2.starting.drawn_slices import CLASSES, draw_anatomy, draw_batch

RATE, WEIGHT_DECAY, DECAY = 2e-3, 1e-4, 0.995
COARSE_SIDE, FINE_SIDE = 128, 160  # pixels of a slice, early and late: small slices cost less
KEEP_EVERY = 50  # steps between states on disk

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Recipe:
    """What decides the starting network.

    Attributes:
        encoder: one of `ENCODERS`.
        steps: of the optimiser.
        batch: slices of a step.
        anatomies: subjects that are drawn.
        coarse: share of the steps on coarse slices.
        seed: of everything.
    """

    encoder: str = "dlfcn_res18"
    steps: int = 2400
    batch: int = 8
    anatomies: int = 600
    coarse: float = 0.6
    seed: int = 1234


def pretrain(
    recipe: Recipe, state_file: Path, backbone: Path | None = None, workers: int = 1,
    report: Callable[[int, float], None] = lambda step, loss: None,
) -> AdaptedNetwork:  # fmt: skip
    """The starting network, with the moving average of its weights; goes on from `state_file` where that is there.

    Args:
        recipe: what decides it.
        state_file: where the state is kept on the way.
        backbone: file of weights that the encoder starts from, such as those of Stage 1; None: random ones.
        workers: processes that draw the anatomies.
        report: called after every step with its number and its loss.

    Raises:
        FileNotFoundError, ValueError: the state is damaged or of another recipe, or the backbone does not fit.
        OSError: the state cannot be written.
    """
    torch.manual_seed(recipe.seed)
    generator = torch.Generator().manual_seed(recipe.seed)
    network = AdaptedNetwork(recipe.encoder, len(CLASSES))
    if backbone is not None:
        logger.info("encoder from %s: %s", backbone, load_backbone(network.backbone, backbone))
    network.to(memory_format=torch.channels_last)
    learner = Learner(network, RATE, WEIGHT_DECAY, DECAY)
    identity = asdict(recipe) | {"backbone": None if backbone is None else hash_file(backbone)}
    if state_file.is_file():
        _go_on(state_file, identity, learner, generator)
    anatomies = draw_anatomies(recipe.seed, recipe.anatomies, workers) if learner.steps < recipe.steps else []
    while learner.steps < recipe.steps:
        done = learner.steps / recipe.steps
        side = COARSE_SIDE if done < recipe.coarse else FINE_SIDE
        images, classes = draw_batch(anatomies, recipe.batch, side, generator)
        loss = learner.step(images, classes, done)
        report(learner.steps, loss)
        if learner.steps % KEEP_EVERY == 0 or learner.steps == recipe.steps:
            state = {"identity": identity, "learner": learner.state(), "generator": generator.get_state()}
            write_checkpoint(state, state_file)
    network.load_state_dict(learner.average)
    return network.eval()


def draw_anatomies(seed: int, count: int, workers: int) -> Sequence[np.ndarray]:
    """Anatomies 0 to `count` of a seed, in this order."""
    found: dict[int, np.ndarray] = dict(run_jobs(partial(_numbered_anatomy, seed), range(count), workers))
    return [found[index] for index in range(count)]


def _numbered_anatomy(seed: int, index: int) -> tuple[int, np.ndarray]:
    return index, draw_anatomy(seed, index)


def _go_on(state_file: Path, identity: dict[str, Any], learner: Learner, generator: torch.Generator) -> None:
    content = read_checkpoint(state_file)
    if content.get("identity") != identity:
        raise ValueError(f"{state_file} is the state of another recipe; give another folder, or remove it.")
    learner.load(content["learner"])
    generator.set_state(content["generator"])
    logger.info("going on after step %d", learner.steps)
