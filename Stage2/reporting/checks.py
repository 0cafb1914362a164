"""Whether the JSON files of a run hold what their readers take from them: a damaged file is one clear sentence."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from Stage2.datasets.folds import EVERY_SUPPORT
from Stage2.evaluation.metrics import metric_names
from Stage2.run_folders.layout import ADAPTED, FULL_VOLUME, METHODS, method_of
from Stage2.run_folders.unusual import USUAL

MOST_FOLDS = 1000
LARGEST = 1e15  # of scores; also refuses NaN, which no comparison holds for
OF_SCAN = ("class", "label", "scan", "z_min", "z_max")
NOT_METRICS = {*OF_SCAN, "scans", "undefined", "undefined_distances", FULL_VOLUME}
Kind = Callable[[Any], bool]


def is_text(value: Any) -> bool:
    return isinstance(value, str)


def is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def is_count(value: Any) -> bool:
    return is_whole(value) and value >= 0


def is_fold(value: Any) -> bool:
    return is_count(value) and value < MOST_FOLDS


def is_object(value: Any) -> bool:
    return isinstance(value, dict)


def is_number(value: Any) -> bool:
    return isinstance(value, float | int) and not isinstance(value, bool)


def is_score(value: Any) -> bool:
    """A finite number, or None: undefined."""
    return value is None or (is_number(value) and abs(value) < LARGEST)


def maybe(kind: Kind) -> Kind:
    return lambda value: value is None or kind(value)


def every(kind: Kind) -> Kind:
    return lambda value: isinstance(value, list) and all(map(kind, value))


TABLES = {"scans": every(is_object), "class_means": is_object, "mean": is_object}
RESULTS_NEEDED = {
    "protocol": is_text, "dataset": is_text, "fold": is_fold, "label_set": is_whole,
    "exclude_classes": every(is_whole), **TABLES,
}  # fmt: skip
RESULTS_OPTIONAL = {
    "slice_matching": maybe(is_text), "snapshot": maybe(is_text), "step": maybe(is_count),
    "selected_by": maybe(is_text), "support": maybe(is_object), "label_values": maybe(is_object),
    "method": lambda value: value is None or value in METHODS, "adaptation": maybe(is_object),
    "exclude_rule": maybe(is_text), "fold_scheme": maybe(is_text), "ct_statistics": maybe(is_text),
    "support_idx": lambda value: value is None or value == EVERY_SUPPORT or every(is_whole)(value),
    "query_prototypes": maybe(is_count), "supports": every(is_object), "left_out_supports": every(is_text),
    "clsname": maybe(is_text), **dict.fromkeys(USUAL, maybe(is_count)),
}  # fmt: skip
ADAPTATION = {"start": is_text, "budget": is_text}
SCAN_FIELDS = {
    "class": is_text, "label": is_whole, "scan": is_text, "z_min": maybe(is_count), "z_max": maybe(is_count),
}  # fmt: skip
SUPPORT = {"scan": is_text, "slices": lambda value: every(is_count)(value) and bool(value)}
CONFIG_FIELDS = {"seed": maybe(is_whole), "dataset": maybe(is_text), "path": maybe(is_object)}
STATUS_FIELDS = {
    "experiment": maybe(is_object), "host": maybe(is_object), "status": maybe(is_text), "start_time": maybe(is_text),
}  # fmt: skip


def metrics_of(scores: Mapping[str, Any]) -> list[str]:
    """Metrics in an entry of results.json, those of the project's table first."""
    return metric_names({name: value for name, value in scores.items() if name not in NOT_METRICS})


def check_results(results: Mapping[str, Any], file: Path) -> None:
    """Raise ValueError unless everything that tables and figures take from results.json is there and of its kind."""
    missing = [name for name in RESULTS_NEEDED if name not in results]
    if missing:
        raise ValueError(f"{file} lacks {', '.join(missing)}; test this experiment again")
    check_kinds(results, RESULTS_NEEDED | RESULTS_OPTIONAL, file)
    if method_of(results) == ADAPTED:
        check_kinds(results.get("adaptation") or {}, ADAPTATION, file, needed=True)
    _check_scores(results, file)
    for of_support in results.get("supports") or []:
        check_kinds(of_support, {"scan": is_text, **TABLES}, file, needed=True)
        _check_scores(of_support, file)
    if results.get("support_idx") == EVERY_SUPPORT and not results.get("supports"):
        raise ValueError(f"{file} lacks supports, which support_idx={EVERY_SUPPORT} writes; test this experiment again")
    for supports in (results.get("support") or {}).values():
        for support in supports if isinstance(supports, list) else [supports]:
            check_kinds(support if is_object(support) else {"scan": support}, SUPPORT, file, needed=True)


def _check_scores(results: Mapping[str, Any], file: Path) -> None:
    """The same for scores per scan and their means."""
    means = [results["mean"], *results["class_means"].values()]
    if not all(map(is_object, means)):
        raise ValueError(f"{file} has a class whose means are no object; test this experiment again")
    metrics = metrics_of({name: None for entry in (*results["scans"], *means) for name in entry})
    expected = [(entry, (*OF_SCAN, *metrics)) for entry in results["scans"]] + [(entry, metrics) for entry in means]
    for entry, names in expected:
        missing = [name for name in names if name not in entry]
        if missing or not metrics:
            lacking = ", ".join(missing) or "scores"
            raise ValueError(f"{file} has an entry without {lacking}; test this experiment again")
        check_kinds(entry, {name: SCAN_FIELDS.get(name, is_score) for name in names}, file)
        check_kinds(entry, {FULL_VOLUME: is_object, "undefined": is_count, "undefined_distances": is_count}, file)
        whole = entry.get(FULL_VOLUME, {})
        check_kinds(whole, dict.fromkeys(metrics_of(whole), is_score), file)


def check_config(config: Mapping[str, Any], file: Path) -> None:
    """Raise ValueError unless the settings that tables take from config.json are of their kinds."""
    check_kinds(config, CONFIG_FIELDS, file, "run this experiment again")
    check_kinds(config.get("path") or {}, {"data_dir": maybe(is_text)}, file, "run this experiment again")


def check_status(status: Mapping[str, Any], file: Path) -> None:
    """Raise ValueError unless what the table of runs takes from run.json is of its kind."""
    check_kinds(status, STATUS_FIELDS, file, "run this experiment again")
    about = status.get("experiment") or {}
    check_kinds(about, {"name": maybe(is_text), "repositories": maybe(every(is_object))}, file)
    check_kinds(status.get("host") or {}, {"hostname": maybe(is_text)}, file)
    for repository in about.get("repositories") or []:
        check_kinds(repository, {"commit": maybe(is_text)}, file)


def check_kinds(
    content: Mapping[str, Any], kinds: Mapping[str, Kind], file: Path, remedy: str = "test this experiment again",
    needed: bool = False,
) -> None:  # fmt: skip
    """Raise ValueError for the first field that is there (or is needed) and not of its kind."""
    for name, kind in kinds.items():
        if (needed or name in content) and not kind(content.get(name)):
            shown = repr(content.get(name))
            shown = shown if len(shown) <= 40 else f"{shown[:37]}..."
            raise ValueError(f"{file} holds {shown} as {name}, which no run writes; {remedy}")
