"""Settings from command lines and config files as plain data: they are parsed here, and nothing in them is run.

sacred by itself restores Python objects from them, which runs whatever code a value names.
"""

import ast
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from Stage2.datasets.dataset_file import SUFFIXES, read_yaml
from Stage2.runs.settings import DEFAULTS, flatten

TEXTS = frozenset(key for key, default in flatten(DEFAULTS) if default is None or isinstance(default, str))
LONGEST_VALUE = 10_000  # characters
LARGEST_FILE = 1_000_000  # bytes


def parse_settings(words: Sequence[str]) -> dict[str, Any]:
    """``key=value`` words by dotted key; the last one of a key wins.

    Values are Python literals, else text. A text setting takes what is typed: exp_prefix=2024_01 is no number.

    Raises:
        ValueError: a word has no "=", or a value is too long for a setting.
    """
    settings = {}
    for word in words:
        key, sign, value = word.partition("=")
        if not sign:
            raise ValueError(f"'{word}' is not of the form key=value.")
        settings[key.strip()] = _parse_value(key.strip(), value.strip())
    return settings


def read_config_words(words: Sequence[str]) -> dict[str, Any]:
    """Nested settings of the words after ``with``: key=value, or a config file, such as the config.json of a run.

    Words win over files.

    Raises:
        FileNotFoundError, ValueError: a file that is missing, no plain data, or a setting given in two ways.
    """
    config: dict[str, Any] = {}
    for word in words:
        if word and "=" not in word:
            config = _with_settings(config, with_present_names(read_config_file(Path(word))))
    config = _with_settings(config, parse_settings([word for word in words if "=" in word]))
    return with_present_names(config)


def read_config_file(path: Path) -> dict[str, Any]:
    """Nested settings of a .json or .yaml file.

    Raises:
        FileNotFoundError, ValueError: it is missing, or does not hold plain settings.
    """
    if path.suffix not in (".json", *SUFFIXES):
        raise ValueError(f"{path} is neither key=value nor a .json or .yaml file; no other file of settings is read.")
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; expected a file of settings, such as a run's config.json.")
    if path.stat().st_size > LARGEST_FILE:
        raise ValueError(f"{path} has {path.stat().st_size} bytes, too many for settings; give a run's config.json.")
    try:
        content = json.loads(path.read_bytes()) if path.suffix == ".json" else read_yaml(path)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} holds no settings ({str(error) or 'nested too deeply'}); write it anew.") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__}; expected settings by name.")
    return content


def with_present_names(config: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of earlier versions in their present form: `selection` was one text, "rule: reason"."""
    selection = config.get("selection", {})
    if isinstance(selection, Mapping):
        return dict(config)
    rule, _, reason = str(selection or "").partition(": ")
    return {**config, "selection": {"rule": rule or None, "reason": reason or None}}


def merge(config: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Nested settings with changes, which win."""
    merged = dict(config)
    for key, value in changes.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = merge(merged[key], value) if both else value
    return merged


def _with_settings(config: dict[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Nested settings with others, which win; a dotted key of these is one within groups, as in path.data_dir."""
    for key, value in settings.items():
        *groups, name = str(key).split(".")
        changes, place = {name: value}, config
        for group in groups:
            place = place.get(group)
            if place is None:
                break
            if not isinstance(place, Mapping):
                raise ValueError(f"{key}={value}: {group} is given as a value of its own too; give one of them.")
        for group in reversed(groups):
            changes = {group: changes}
        config = merge(config, changes)
    return config


def _parse_value(key: str, text: str) -> Any:
    if len(text) > LONGEST_VALUE:
        raise ValueError(f"{key} is given {len(text)} characters; expected {LONGEST_VALUE} or fewer.")
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text
    return text if key in TEXTS and isinstance(value, bool | int | float | complex | bytes) else value
