"""Make the network that adapting starts from: pre-trained on slices that this program draws, and on nothing else.

An interrupted run goes on. The same settings give the same file again, on one machine with the same number of threads.

Example: python tools/make_starting_network.py --work exps/starting --out pretrained_model/starting_resnet18.safetensors
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from Stage1.command_line import positive
from Stage2.models.registry import ENCODERS

SAY_EVERY = 50  # steps


def make(options: argparse.Namespace) -> None:
    import torch

    from Stage1.files import hash_file, locked
    from Stage2.adaptation.network_file import STARTING, write_network
    from Stage2.starting.drawn_slices import CLASSES
    from Stage2.starting.training import Recipe, pretrain

    state = options.work / "state.pth"
    if options.out.is_dir() or options.out.resolve() == state.resolve():
        raise ValueError(f"--out {options.out} is a folder, or the state that a run goes on from; name another file.")
    torch.set_num_threads(options.threads)
    losses: list[float] = []

    def report(step: int, loss: float) -> None:
        losses.append(loss)
        if step % SAY_EVERY == 0 or step == options.steps:
            logging.info("step %d of %d: loss %.3f", step, options.steps, sum(losses) / len(losses))
            losses.clear()

    given = ("encoder", "steps", "batch", "anatomies", "seed")
    recipe = Recipe(**{name: getattr(options, name) for name in given})
    with locked(options.work):
        network = pretrain(recipe, state, options.backbone, options.workers, report)
        described = {
            "recipe": asdict(recipe),
            "backbone_sha256": None if options.backbone is None else hash_file(options.backbone),
            "classes": ["background", *CLASSES],
            "data": "slices of phantoms drawn by this program; no scan of a person",
            "licence": "MIT",
        }
        write_network(options.out, STARTING, network, described, small=True)
    size = options.out.stat().st_size / 1e6
    logging.info("%s: %.1f MB, SHA-256 %s", options.out, size, hash_file(options.out))


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--out", required=True, type=Path, metavar="FILE.safetensors")
    add("--work", required=True, type=Path, metavar="FOLDER", help="where the state is kept")
    add("--encoder", choices=ENCODERS, default="dlfcn_res18", help="(default %(default)s)")
    add("--backbone", type=Path, metavar="FILE", help="weights that the encoder starts from (default: random)")
    add("--steps", type=positive, default=2400, help="(default %(default)s)")
    add("--batch", type=positive, default=8, help="slices of a step (default %(default)s)")
    add("--anatomies", type=positive, default=600, help="subjects that are drawn (default %(default)s)")
    add("--seed", type=int, default=1234, help="(default %(default)s)")
    add("--threads", type=positive, default=1, help="of the network (default %(default)s)")
    add("--workers", type=positive, default=1, help="processes that draw the subjects (default %(default)s)")
    options = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        make(options)
    except (OSError, ValueError) as error:
        print(f"make_starting_network.py: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("make_starting_network.py: interrupted; run it again to go on", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
