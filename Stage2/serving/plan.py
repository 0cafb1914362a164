"""What a job is to do, as plain values in a file: decided once, so that a job goes on as it began."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from Stage1.files import hash_file, write_json
from Stage2.adaptation.settings import SUFFIX
from Stage2.inference.feature_cache import hash_of
from Stage2.serving.folder import Scan
from Stage2.serving.job import SEGMENT, Job
from Stage2.serving.networks import Network, Networks
from Stage2.serving.packed import copy_packed
from Stage2.serving.predictions import ADAPTED, PREVIEW
from Stage2.serving.refusals import Refusal
from Stage2.serving.sessions import Sessions
from Stage2.serving.store import Store

PLAN, PROGRESS, LOG = "plan.json", "progress.json", "log.txt"  # in the folder of a job
LOOK_STEPS = 1  # of the optimiser for a first look, after the head has learned alone


def expect_possible(store: Store, networks: Networks) -> None:
    """Refuse a job for which there is neither an example nor a network."""
    if not store.examples() and networks.current() is None:
        raise Refusal(409, "no scan is an example yet; draw an organ in one and use it as an example.")


def queries_of(store: Store, scan_ids: Sequence[str] | None) -> list[Scan]:
    """The scans that a job segments: those named, or all but the examples; raises Refusal for one that is not there."""
    if scan_ids is not None:
        return [store.scan(scan_id) for scan_id in dict.fromkeys(scan_ids)]
    examples = {scan.id for scan in store.examples()}
    return [scan for scan in store.scans() if scan.error is None and scan.id not in examples]


def write_plan(folder: Path, job: Job, store: Store, networks: Networks) -> dict[str, Any]:
    """Decide what a job does and write it; the drawings of the examples are copied, so that they stay as they are.

    Args:
        folder: of the job.
        job: that is done.
        store: of the workbench.
        networks: of the workbench.

    Raises:
        Refusal: there is neither an example nor a network.
        OSError: something cannot be written.
    """
    expect_possible(store, networks)
    current, settings, minutes = networks.current(), store.settings, job.minutes
    asked = [scan for scan in store.scans() if scan.id in job.scans and scan.error is None]
    queries, fingerprints = [str(scan.file.path) for scan in asked], {}
    for scan in asked:
        with suppress(OSError):  # it is gone, which its turn will tell
            fingerprints[str(scan.file.path)] = scan.fingerprint()
    outputs = store.state
    if job.session is not None:
        session = Sessions(store).get(job.session)
        outputs, queries = session.folder, [str(session.scan.path)]
    supports, annotated, examples, preparation = [], [], {}, _plain(settings.preparation)
    for scan in store.examples():
        drawing, copy = store.drawing(scan), folder / "drawings" / f"{scan.id}.nii.gz"
        copy_packed(drawing, copy)
        supports.append([str(scan.file.path), str(copy)])
        annotated.append(store.drawn_slices(scan))
        examples[scan.id] = hash_of(hash_file(copy), annotated[-1], preparation)  # what a network takes from it
    is_new = bool(examples) and (current is None or minutes is not None or dict(current.examples) != examples)
    learning = {"supports": supports, "annotated": annotated, "preparation": preparation}
    budget = {"minutes": minutes or settings.minutes, "steps": None}
    if settings.steps is not None and minutes is None:
        budget = {"minutes": None, "steps": settings.steps}
    start = _start(current, examples, settings.start)
    plan: dict[str, Any] = {
        "queries": queries, "fingerprints": fingerprints,
        "dataset": settings.preparation.dataset,
        "look": None, "adapt": None, "network": None if current is None else str(current.file),
        "look_out": str(outputs / PREVIEW), "out": str(outputs / ADAPTED),
        "examples": examples,
        "minutes_before": current.minutes if current is not None and start == str(current.file) else 0.0,
    }  # fmt: skip
    if current is None:
        plan["look"] = {
            **learning, "start": settings.start, "out": str(folder / f"look{SUFFIX}"),
            "minutes": None, "steps": LOOK_STEPS,
        }  # fmt: skip
    if job.kind == SEGMENT and is_new:
        plan["adapt"] = {**learning, **budget, "start": start, "out": str(networks.file_for(job.id))}
    write_json(folder / PLAN, plan)
    return plan


def _start(current: Network | None, examples: dict[str, str], start: str | None) -> str | None:
    """Where an adaptation begins: at the network in use, unless that learned from what is no example any more."""
    goes_on = current is not None and current.examples.keys() <= examples.keys()
    return str(current.file) if goes_on else start


def _plain(preparation: Any) -> dict[str, Any]:
    values = asdict(preparation)
    return {name: str(value) if isinstance(value, Path) else value for name, value in values.items()}
