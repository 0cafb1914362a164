"""Whether a run folder has the very settings that are wanted, as far as they have an effect on its result."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from Stage2.run_folders.layout import CONFIG, read_config
from Stage2.run_folders.selection import place_in_log_folder
from Stage2.runs.settings import DEFAULTS, flatten, with_protocol_defaults

# Settings that leave the result of a run as it is. Where the data lie is one of them: on a cluster they are copied to
# the node of the day. Other data need another log folder.
WITHOUT_EFFECT = frozenset(
    {
        "device", "num_workers", "print_interval", "save_snapshot_every", "eval_every", "eval_scans", "picture_every",
        "resume", "exp_prefix", "select", "selection.rule",
        "selection.reason", "path.log_dir", "path.data_dir", "path.cache_dir",
    }
)  # fmt: skip


def differences(run: Path, settings: Mapping[str, Any]) -> list[str]:
    """Settings with an effect in which a run differs from those wanted, as ``key=there there, here here``.

    A file of starting weights is told by its name, a snapshot by its experiment folder, run and step: folders may have
    moved. `n_steps` is left to the caller.
    """
    found = dict(flatten(read_config(run)))
    if not found:
        return [f"its {CONFIG} is missing"]
    defaults = dict(flatten(DEFAULTS))
    there, here = defaults | found, defaults | with_protocol_defaults(settings)
    return [
        f"{key}={there[key]} there, {here[key]} here"
        for key in defaults
        if key not in WITHOUT_EFFECT and key != "n_steps" and comparable(key, there[key]) != comparable(key, here[key])
    ]


def comparable(key: str, value: Any) -> Any:
    """The value of a setting as it is compared, which is the same wherever its file lies."""
    if value is None:
        return None
    if key == "reload_model_path":
        return "/".join(place_in_log_folder(str(value)))
    if key in ("pretrained_backbone", "adapt_start") or (key == "dataset" and str(value).endswith((".yaml", ".yml"))):
        return Path(str(value)).name
    return list(value) if isinstance(value, tuple) else value
