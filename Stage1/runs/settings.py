"""Settings of a run as a person types them: names, paths and values. Needs nothing that takes long to load."""

import ast
import difflib
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]

# Settings that people change, by short name; those of several places are changed in all that a config has. Any other is
# reached by its dotted path.
SHORT_NAMES = {
    "data_root": "train_dataloader.dataset.data_root",
    "image_size": ("train_dataloader.dataset.view.image_size", "model.image_size"),
    "batch_size": "train_dataloader.batch_size",
    "num_workers": "train_dataloader.num_workers",
    "depth": "model.depth",
    "queue_length": "model.queue_length",
    "precision": "model.precision",
    "channels_last": "model.channels_last",
    "compile": "model.compile",
    "max_epochs": "train_cfg.max_epochs",
    "lr": "optim_wrapper.optimizer.lr",
    "checkpoint_interval": "default_hooks.checkpoint.interval",
    "log_interval": "default_hooks.logger.interval",
}
SWITCHES = {"true": True, "false": False}
LIST = "a list such as 0.2,1.0"
MEANINGS = {bool: "True or False", int: "a whole number", float: "a number", list: LIST, tuple: LIST}


def find_path(path: str | Path) -> Path:
    """A path as given or, where that does not exist, the same path below the repository."""
    path = Path(path)
    return ROOT / path if not path.exists() and (ROOT / path).exists() else path


def find_config(path: str | Path) -> Path:
    """A config file's path, from the working directory or from the repository.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a Python file.
    """
    path = find_path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"found no config file {path}, expected for example configs/selfsup/densecl/densecl_roco_50ep.py"
        )
    if path.suffix != ".py":
        raise ValueError(f"found config file {path}, expected a .py file as those below configs/")
    return path


def default_work_dir(config_path: str | Path) -> Path:
    """``./work_dirs/<path of the config below configs/, without .py>``; only its name for a config from elsewhere."""
    path = find_path(config_path).resolve()
    configs = ROOT / "configs"
    inside = path.relative_to(configs) if path.is_relative_to(configs) else Path(path.name)
    return Path("work_dirs") / inside.with_suffix("")


def split_options(words: Iterable[str]) -> dict[str, str]:
    """``KEY=VALUE`` words as names and values, the values exactly as they are typed.

    Raises:
        ValueError: a word without "=".
    """
    options = {}
    for word in words:
        name, sign, value = word.partition("=")
        if not sign or not name:
            raise ValueError(
                f"found {word!r} among --cfg-options, expected KEY=VALUE; quote a value with spaces, "
                "such as 'data_root=my images'"
            )
        options[name] = value
    return options


def dotted_paths(settings: Any, prefix: str = "") -> dict[str, Any]:
    """All settings in nested dictionaries and lists by their paths, ``model.depth`` or ``custom_hooks.0.type``."""
    found = {}
    for key, value in settings.items() if hasattr(settings, "items") else enumerate(settings):
        found[f"{prefix}{key}"] = value
        if isinstance(value, dict | list):
            found |= dotted_paths(value, f"{prefix}{key}.")
    return found


def changes_of(settings: Any, options: dict[str, Any], where: str) -> dict[str, Any]:
    """New values of settings by dotted path, text turned into the type of the value that it replaces.

    Args:
        settings: nested settings.
        options: text or values by short name (see SHORT_NAMES) or by dotted path.
        where: what the settings are of, for messages.

    Raises:
        ValueError: an option that the settings do not have, the message names the nearest; or text of another type.
    """
    known, changes = dotted_paths(settings), {}
    for name, value in options.items():
        meant = SHORT_NAMES.get(name, name)
        paths = [path for path in ([meant] if isinstance(meant, str) else meant) if path in known]
        if not paths:
            nearest = difflib.get_close_matches(name, sorted(known | SHORT_NAMES), n=1, cutoff=0)[0]
            raise ValueError(f"found option {name!r}, which {where} does not have; did you mean {nearest!r}?")
        try:
            changes |= {path: typed(value, known[path]) if isinstance(value, str) else value for path in paths}
        except (ValueError, SyntaxError):
            own = known[paths[0]]
            expected = MEANINGS.get(type(own)) or f"a setting in it, such as {name}.{next(iter(own), '')}="
            raise ValueError(f"found {name}={value}, expected {expected} as {where} has it: {own!r}") from None
    return changes


def typed(text: str, like: Any) -> Any:
    """A value from its text, of the type of another value: text stays exactly as typed.

    Raises:
        ValueError, SyntaxError: it is no such value.
    """
    if isinstance(like, str):
        return text
    if isinstance(like, bool):
        if text.lower() not in SWITCHES:
            raise ValueError(text)
        return SWITCHES[text.lower()]
    if isinstance(like, int | float):
        number = type(like)(text)
        if not math.isfinite(number):
            raise ValueError(text)
        return number
    if isinstance(like, list | tuple):
        inner = text.strip().removeprefix("[").removeprefix("(").removesuffix("]").removesuffix(")")
        values = ast.literal_eval(f"[{inner}]")
        if any(isinstance(one, int | float) for one in like) and not all(type(one) in (int, float) for one in values):
            raise ValueError(text)
        return type(like)(values)
    if like is None:
        try:
            return ast.literal_eval(text)
        except (ValueError, SyntaxError):
            return text
    raise ValueError(text)  # a group of settings
