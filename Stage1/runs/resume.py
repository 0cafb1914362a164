"""Going on with an interrupted run: which checkpoint to take, and whether it continues the run that is asked for."""

import ast
import logging
import re
from pathlib import Path

from mmengine import dist
from mmengine.config import Config
from torch import Tensor

from Stage1.files import remove_partial
from Stage1.weights.backbones import describe_mismatch
from Stage1.weights.checkpoints import read_checkpoint

CHECKPOINT = re.compile(r"epoch_(\d+)\.pth")
NEEDED = ("state_dict", "optimizer", "param_schedulers", "meta", "message_hub")
# Settings that decide what a run computes. The others are where it reads and writes, how fast, and what it logs.
COMPARED = ("model", "train_dataloader", "train_cfg", "optim_wrapper", "param_scheduler", "auto_scale_lr", "processes")
NOT_COMPARED = re.compile(
    r"train_dataloader\.(num_workers|pin_memory|persistent_workers|prefetch_factor|dataset\.data_root)"
)
# These are part of the optimiser's state, which a resumed run takes from its checkpoint.
KEPT = ("optim_wrapper.optimizer.", "auto_scale_lr.")

logger = logging.getLogger(__name__)


def numbered_checkpoints(work_dir: str | Path) -> list[Path]:
    """The ``epoch_N.pth`` of a folder, newest first."""
    found = ((CHECKPOINT.fullmatch(path.name), path) for path in Path(work_dir).glob("epoch_*.pth"))
    return [path for _, path in sorted(((int(match[1]), path) for match, path in found if match), reverse=True)]


def newest_checkpoint(work_dir: str | Path) -> Path | None:
    """The checkpoint with the highest epoch that can be read to its end and resumed; None if there is none.

    MMEngine's file ``last_checkpoint`` is not asked: a process that is killed can leave it behind the checkpoints.
    """
    for path in numbered_checkpoints(work_dir):
        try:
            check_complete(read_checkpoint(path), path)
        except (OSError, ValueError) as error:
            logger.warning("Skipping %s: %s", path.name, error)
        else:
            return path
    return None


def choose_checkpoint(work_dir: str | Path, auto_resume: bool) -> Path | None:
    """What a run in this folder starts from, the same for all processes; None for a new run.

    What killed writers left is removed, and a new run beside the checkpoints of an older one is warned about.
    """
    found = [None]
    if dist.is_main_process():
        remove_partial(work_dir)
        older = numbered_checkpoints(work_dir)
        if auto_resume:
            found = [newest_checkpoint(work_dir)]
        elif older:
            logger.warning("A new run starts beside %s of an older one; --auto-resume would take that.", older[0])
    dist.broadcast_object_list(found)
    return found[0]


def prepare_resume(cfg: Config, seed: int | None, checkpoint: dict, path: str | Path) -> None:
    """Makes a configuration continue a checkpoint, seed included.

    Raises:
        ValueError: the checkpoint is not whole, or of a run with another schedule or another seed than ``seed``.
    """
    check_complete(checkpoint, path)
    check_schedule(cfg, checkpoint, path)
    saved_seed = checkpoint["meta"].get("seed", cfg.randomness.seed)
    if seed not in (None, saved_seed):
        raise ValueError(f"found --seed {seed}, but {path} continues a run with seed {saved_seed}; leave --seed out")
    cfg.randomness.seed = saved_seed
    cfg.load_from, cfg.resume = str(path), True


def check_complete(checkpoint: dict, path: str | Path) -> None:
    """Raises a ValueError unless a checkpoint holds all that a resumed run needs."""
    absent = [part for part in NEEDED if part not in checkpoint]
    if absent:
        raise ValueError(
            f"found no {', '.join(absent)} in {path}, expected a checkpoint written by tools/train.py; "
            "use --pretrained to start from weights alone"
        )
    if "config" in checkpoint["meta"]:  # MMEngine runs it as Python code
        raise ValueError(
            f"found code in {path} (meta.config): resuming would run it; expected a checkpoint written by "
            "tools/train.py; use --pretrained to start from its weights"
        )


def check_schedule(cfg: Config, checkpoint: dict, path: str | Path) -> None:
    """Raises a ValueError if the checkpoint's run was planned for another number of epochs.

    The cosine's length is part of the checkpoint, so the learning rate would be wrong.
    """
    planned = recorded_settings(checkpoint).get("train_cfg.max_epochs", cfg.train_cfg.max_epochs)
    if planned != cfg.train_cfg.max_epochs:
        raise ValueError(
            f"found max_epochs {cfg.train_cfg.max_epochs}, but the learning rate's schedule in {path} was planned for "
            f"{planned} epochs and would be wrong; resume with max_epochs={planned}, or start a new run in another "
            "--work_dir with --pretrained"
        )


def check_model(state_dict: dict[str, Tensor], checkpoint: dict, path: str | Path) -> None:
    """Raises a ValueError unless a checkpoint's weights and queues are those of a model with this state dict."""
    mismatch = describe_mismatch(state_dict, checkpoint["state_dict"])
    if mismatch:
        raise ValueError(
            f"found tensors in {path} that do not fit the model ({mismatch}), expected a checkpoint of the same model; "
            "resume with the configuration that wrote it"
        )


def check_epoch_length(steps: int, checkpoint: dict, path: str | Path) -> None:
    """Raises a ValueError if an epoch of the checkpoint's run had another number of steps than this run's."""
    epoch, step = checkpoint["meta"]["epoch"], checkpoint["meta"]["iter"]
    if step != epoch * steps:
        raise ValueError(
            f"found {steps} steps per epoch, but {path} was written after {step} steps in {epoch} epochs, so its "
            "schedule would be wrong; resume with the same images, batch_size and number of processes"
        )


def changed_settings(cfg: Config, checkpoint: dict) -> list[str]:
    """What makes the end of a resumed run differ from that of an uninterrupted one, each as ``name: before -> now``."""
    before, now = recorded_settings(checkpoint), flat_settings(cfg.pretty_text)
    changes = []
    for name in sorted(before.keys() | now.keys()):
        if name.split(".")[0] in COMPARED and not NOT_COMPARED.match(name) and before.get(name) != now.get(name):
            kept = " (no effect: the checkpoint's is kept)" if name.startswith(KEPT) else ""
            changes.append(f"{name}: {before.get(name)} -> {now.get(name)}{kept}")
    return changes if before else ["the checkpoint does not tell its settings"]


def recorded_settings(checkpoint: dict) -> dict[str, object]:
    """Settings of the run that wrote a checkpoint, by dotted path; none if it does not say."""
    return flat_settings(checkpoint["meta"].get("cfg", ""))


def flat_settings(text: str) -> dict[str, object]:
    """Values in a config file's text by dotted path, read without running it, which a checkpoint's must not be."""
    settings = {}
    try:
        statements = ast.parse(text).body
    except SyntaxError:
        return {}
    for statement in statements:
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            settings |= _flatten(statement.targets[0].id, statement.value)
    return settings


def _flatten(name: str, value: ast.expr) -> dict[str, object]:
    if isinstance(value, ast.Call):
        items = [(keyword.arg, keyword.value) for keyword in value.keywords]
    elif isinstance(value, ast.Dict):
        items = [(ast.unparse(key).strip("'"), entry) for key, entry in zip(value.keys, value.values, strict=True)]
    elif isinstance(value, ast.List | ast.Tuple):
        items = [(str(index), entry) for index, entry in enumerate(value.elts)]
    else:
        try:
            return {name: ast.literal_eval(value)}
        except ValueError:
            return {name: ast.unparse(value)}
    return {path: leaf for key, entry in items for path, leaf in _flatten(f"{name}.{key}", entry).items()}
