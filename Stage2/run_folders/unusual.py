"""What tests can have otherwise than the published ones: settings, and support scans."""

from collections.abc import Mapping, Sequence
from typing import Any

from Stage2.datasets.folds import OVERLAPPING

PUBLISHED_HEAD = "grid_proto"
USUAL = {"n_sup_part": 3, "val_wsize": 2, "z_margin": 0, "min_fg_data": 1}


def unusual_settings(results: Mapping[str, Any]) -> tuple[str, ...]:
    """``key=value`` of settings in results.json that are not the published ones; results that name none are usual."""
    return tuple(f"{key}={results[key]}" for key, usual in USUAL.items() if results.get(key) not in (None, usual))


def has_published_support(results: Mapping[str, Any], boundaries: Sequence[int] | None) -> bool:
    """Whether a test had the scans after the fold's disjoint test scans as supports, or names none.

    Args:
        results: of results.json.
        boundaries: of the folds; None where they are not known: then places are such scans if counted from the end.
    """
    places = results.get("support_idx")
    if places is None:
        return True
    if not isinstance(places, list):  # every support in turn
        return False
    last = list(range(-len(places), 0))
    fold = results.get("fold")
    if boundaries is None or fold is None or fold + 1 >= len(boundaries):
        return sorted(places) == last
    further = 1 if results.get("fold_scheme") == OVERLAPPING else len(places)
    scans = boundaries[fold + 1] - boundaries[fold] + further
    return sorted(place - scans if place >= 0 else place for place in places) == last
