"""One snapshot by every protocol and every support scan, as tested runs that tables can be made of.

A scan is encoded once for all supports and, where its image is the same, for all protocols that encode alike.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from Stage2.datasets.folds import EVERY_SUPPORT
from Stage2.datasets.volumes import list_scans
from Stage2.evaluation.metrics import metrics_for
from Stage2.evaluation.results import summarise_supports
from Stage2.models.few_shot import FewShotSegmenter
from Stage2.reporting.runs import TestedRun
from Stage2.run_folders.layout import CLEAN, CONFIG, PROTOCOLS, PROTOTYPES, read_config, run_of
from Stage2.run_folders.selection import Choice, resolve_choice
from Stage2.runs.build import build_network, open_cohort, tested_scans
from Stage2.runs.experiment import registered_choices
from Stage2.runs.plain_config import merge, with_present_names
from Stage2.runs.settings import DEFAULTS, RunSettings, check_config, with_protocol_defaults
from Stage2.runs.testing import describe_test, every_support, read_query, remembered, run_tests
from Stage2.runs.trained_scans import check_no_test_labels, check_untouched

# Settings of a training that say nothing of a test, or that this test decides by itself.
DECIDED = (
    "protocol", "fold_scheme", "ct_statistics", "support_idx", "reload_model_path", "select", "selection", "resume",
    "use_coco_init", "use_densecl_init", "pretrained_backbone", "method", "adapt_minutes", "adapt_steps", "adapt_start",
    "full_volume",
)  # fmt: skip

logger = logging.getLogger(__name__)


def settings_of(snapshot: Path, given: Mapping[str, Any], protocol: str) -> RunSettings:
    """Settings of a test of every support.

    Args:
        snapshot: whose run folder tells data set, fold and network.
        given: nested settings that win.
        protocol: of the test.

    Raises:
        ValueError: a setting is wrong, or decided here.
    """
    decided = {"protocol": protocol, "support_idx": EVERY_SUPPORT, "reload_model_path": str(snapshot)}
    for key in (*decided, "method"):
        if key in given:
            raise ValueError(f"{key} is no choice here: every protocol and support is tested, with {PROTOTYPES}.")
    trained = with_present_names(read_config(run_of(snapshot)))
    known = {key: value for key, value in trained.items() if key in DEFAULTS and key not in DECIDED}
    config = merge(merge(DEFAULTS, known), with_protocol_defaults({**given, **decided}))
    check_config(config, registered_choices())
    return RunSettings.of(config)


def find_snapshots(paths: Sequence[Path], given: Mapping[str, Any]) -> list[Choice]:
    """The snapshots that files and run folders name, each once.

    Raises:
        FileNotFoundError, ValueError: one is missing, or nothing tells what it was trained on.
    """
    found: dict[Path, Choice] = {}
    for path in paths:
        if not path.exists():
            raise FileNotFoundError(f"{path} does not exist; name a snapshot, or the folder of a run that has some.")
        choice = resolve_choice(path)
        if not (run_of(choice.snapshot) / CONFIG).is_file() and "dataset" not in given:
            raise ValueError(
                f"{choice.snapshot} lies in no run folder that tells its data set and network; give them, as in --with "
                "dataset=CHAOST2 eval_fold=0 label_sets=0 modelname=dlfcn_res101."
            )
        found.setdefault(choice.snapshot.resolve(), choice)
    return list(found.values())


def score_snapshot(
    choice: Choice, given: Mapping[str, Any], name: str, protocols: Sequence[str] = PROTOCOLS
) -> Iterator[TestedRun | str]:
    """A tested run for every protocol; a sentence for one that the snapshot cannot be tested by.

    Args:
        choice: the snapshot.
        given: nested settings that win over those of its run folder.
        name: of the experiment in tables.
        protocols: which.
    """
    folder = run_of(choice.snapshot)
    trained = read_config(folder)
    model: FewShotSegmenter | None = None
    memories: dict[bool, Any] = {}  # by whether the protocol encodes as the clean one does
    for protocol in protocols:
        settings = settings_of(choice.snapshot, given, protocol)
        cohort = open_cohort(settings)
        try:
            if protocol == CLEAN:
                check_no_test_labels(choice, choice.snapshot)
            check_untouched(choice.snapshot, cohort.data_set, list_scans(cohort.folder), tested_scans(settings, cohort))
        except ValueError as error:
            yield f"No `{protocol}` protocol for {name}: {error}"
            continue
        model = build_network(settings, choice).eval() if model is None else model
        memory = memories.setdefault(protocol == CLEAN, remembered(model, settings))
        logger.info("%s, step %s: %s protocol, every support", name, choice.snapshot.stem, protocol)
        tests, left_out = every_support(model, settings, cohort, memory)
        results = run_tests(
            tests, cohort.fold.test, partial(read_query, cohort), lambda *_: None, z_margin=settings.z_margin,
            metrics=metrics_for(vars(settings)),
        )  # fmt: skip
        described = describe_test(settings, cohort, choice) | {"left_out_supports": left_out}
        config = {"dataset": settings.dataset, "path": {"data_dir": str(cohort.folder)}}
        yield TestedRun(name, 0, described | summarise_supports(results), folder, config, trained.get("seed"))


def names_of(choices: Sequence[Choice]) -> list[str]:
    """A name of every snapshot's experiment: the last folders of its run, or the whole path where two are alike."""
    runs = [run_of(choice.snapshot) for choice in choices]
    short = ["/".join(run.parts[-3:-1]) if (run / CONFIG).is_file() else run.as_posix() for run in runs]
    alike = [(name, choice.snapshot.name) for name, choice in zip(short, choices, strict=True)]
    return [
        run.as_posix() if alike.count(pair) > 1 else name for name, run, pair in zip(short, runs, alike, strict=True)
    ]
