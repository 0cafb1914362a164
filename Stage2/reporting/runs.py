"""The run folders below a folder: tested ones with their results, trained ones with their scalars."""

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from Stage2.datasets.catalog import DataSet, get_dataset
from Stage2.datasets.dataset_file import is_dataset_file
from Stage2.io.names import MANIFEST
from Stage2.run_folders.layout import (
    CONFIG,
    FULL_VOLUME,
    RESULTS,
    SCALARS,
    STATUS,
    list_runs,
    read_config,
    read_results,
    read_scalars,
    read_status,
)

logger = logging.getLogger(__name__)

ROOT = Path(__file__).resolve().parents[2]
MEAN = "mean"
IN_RANGE = "in_range"
NEEDED = ("protocol", "dataset", "fold", "label_set", "exclude_classes", "scans", "class_means", MEAN)
SCORES = ("dice", "precision", "recall")
OF_SCAN = ("class", "label", "scan", "z_min", "z_max", *SCORES)
TRAINED_BY = "query_loss"  # the scalar that every training and fine-tuning logs


@dataclass(frozen=True)
class TestedRun:
    """One run folder that holds ``results.json``.

    Attributes:
        experiment: path of the experiment folder below the folder that was searched.
        run: run id, the number that sacred gave.
        results: content of ``results.json``.
        folder: the run folder.
        config: content of ``config.json``; empty where there is none.
    """

    __test__ = False  # no test class, whatever its name

    experiment: str
    run: int
    results: Mapping
    folder: Path
    config: Mapping = field(default_factory=dict)

    @property
    def seed(self) -> int | None:
        """Seed of the training that made the tested snapshot, where its run folder is still there, else of the test."""
        snapshot = self.results.get("snapshot")
        if snapshot is not None:
            trained = _existing(Path(snapshot).parent.parent / CONFIG)
            if trained is not None:
                return read_config(trained.parent).get("seed")
        return self.config.get("seed")

    def data_set(self) -> DataSet | None:
        """The data set that was tested; None where its file is gone."""
        name = self.results["dataset"]
        configured = self.config.get("dataset", name)
        try:
            return get_dataset(configured if is_dataset_file(configured) else name)
        except (OSError, ValueError):
            return None

    def data_folder(self) -> Path | None:
        """The processed folder that was tested; None where it is gone."""
        given = self.config.get("path", {}).get("data_dir")
        if given is not None:
            return _existing(Path(given))
        data_set = self.data_set()
        return None if data_set is None or data_set.default_folder is None else _existing(Path(data_set.default_folder))

    def on_phantoms(self) -> bool:
        """Whether the tested scans are the demo's phantoms, which share the name of a real data set."""
        folder = self.data_folder()
        return folder is not None and (folder / MANIFEST).is_file()


@dataclass(frozen=True)
class TrainedRun:
    """One run folder of a training or fine-tuning.

    Attributes:
        experiment: path of the experiment folder below the folder that was searched.
        run: run id.
        folder: the run folder.
        scalars: name -> (steps, values).
    """

    experiment: str
    run: int
    folder: Path
    scalars: Mapping[str, tuple[list[int], list[float]]]


@dataclass(frozen=True)
class RunState:
    """What ``run.json`` says of any run.

    Attributes:
        experiment, run: as in `TestedRun`.
        entry_point: training, finetuning or validation.
        status: COMPLETED, RUNNING, INTERRUPTED or FAILED.
        started: when, ISO 8601 in UTC.
        host: name of the machine.
        commit: of the code, with "+" where it was changed since; None where it was no git checkout.
    """

    experiment: str
    run: int
    entry_point: str
    status: str
    started: str
    host: str
    commit: str | None


def load_results(run: Path) -> dict:
    """``results.json`` of a run, checked for the fields that the tables need.

    Raises:
        FileNotFoundError: the run has none.
        ValueError: the file is broken or lacks a field.
    """
    results = read_results(run)
    missing = [name for name in NEEDED if name not in results]
    if missing:
        raise ValueError(f"{run / RESULTS} lacks {', '.join(missing)}; test this experiment again")
    expected = [(entry, OF_SCAN) for entry in results["scans"]]
    expected += [(entry, SCORES) for entry in (*results["class_means"].values(), results[MEAN])]
    for entry, names in expected:
        missing = [name for name in names if not isinstance(entry, dict) or name not in entry]
        if missing:
            raise ValueError(f"{run / RESULTS} has an entry without {', '.join(missing)}; test this experiment again")
    return results


def find_tested_runs(folders: Iterable[Path]) -> list[TestedRun]:
    """All tested runs below the folders, ordered by experiment and run id; each run folder once.

    Raises:
        FileNotFoundError: a folder does not exist, or none of them holds a result.
        ValueError: a ``results.json`` is broken.
    """
    folders = list(folders)
    found = [
        TestedRun(experiment, int(run.name), load_results(run), run, read_config(run))
        for experiment, run in _runs_with(folders, RESULTS)
    ]
    if not found:
        names = ", ".join(map(str, folders))
        raise FileNotFoundError(f"no <run id>/{RESULTS} below {names}; test an experiment first")
    return found


def find_trained_runs(folders: Iterable[Path]) -> list[TrainedRun]:
    """All runs below the folders that logged a training loss, ordered by experiment and run id.

    A run whose ``metrics.json`` is broken is left out, with a warning: its curves are no result.

    Raises:
        FileNotFoundError: a folder does not exist.
    """
    found = _readable(_runs_with(folders, SCALARS), read_scalars)
    return [
        TrainedRun(experiment, int(run.name), run, scalars)
        for experiment, run, scalars in found
        if len(scalars.get(TRAINED_BY, ((), ()))[0])
    ]


def list_states(folders: Iterable[Path]) -> list[RunState]:
    """State of every run below the folders that sacred has started, ordered by experiment and run id.

    A run whose ``run.json`` is broken is left out, with a warning.
    """
    states = []
    for experiment, run, content in _readable(_runs_with(folders, STATUS), read_status):
        about = content.get("experiment", {})
        repositories = about.get("repositories") or [{}]
        commit = repositories[0].get("commit")
        states.append(
            RunState(
                experiment=experiment,
                run=int(run.name),
                entry_point=str(about.get("name", "")),
                status=str(content.get("status", "")),
                started=str(content.get("start_time", ""))[:19],
                host=str(content.get("host", {}).get("hostname", "")),
                commit=None if commit is None else commit[:10] + ("+" if repositories[0].get("dirty") else ""),
            )
        )
    return states


def latest_results(experiment: Path) -> tuple[Path, dict]:
    """Run folder and results of the latest tested run of an experiment folder.

    Raises:
        FileNotFoundError: no run of it has results.
    """
    for run in reversed(list_runs(experiment)):
        if (run / RESULTS).is_file():
            return run, load_results(run)
    raise FileNotFoundError(f"no run in {experiment} holds {RESULTS}; test this experiment first")


def open_run(folder: Path, file: str) -> Path:
    """The folder itself when it is a run that has the file, else the latest run of the experiment folder that has it.

    Raises:
        FileNotFoundError: there is none.
    """
    for run in (folder, *reversed(list_runs(folder))):
        if (run / file).is_file():
            return run
    raise FileNotFoundError(f"neither {folder} nor a run in it holds {file}; name a run folder or experiment folder")


def open_tested_run(folder: Path) -> TestedRun:
    """The tested run that a run folder or an experiment folder (its latest) means.

    Raises:
        FileNotFoundError, ValueError: there is none, or its results are broken.
    """
    run = open_run(folder, RESULTS).resolve()
    number = int(run.name) if run.name.isdecimal() else 0
    return TestedRun(run.parent.name, number, load_results(run), run, read_config(run))


def region_of(results: Mapping, region: str) -> Mapping[str, Any]:
    """Class means and mean over the class ranges, or over the full volumes; empty where a test has none of these."""
    if region == IN_RANGE:
        return results
    means = {name: row[FULL_VOLUME] for name, row in results["class_means"].items() if FULL_VOLUME in row}
    return {"class_means": means, MEAN: results[MEAN].get(FULL_VOLUME, {})}


def _readable(runs: Iterable[tuple[str, Path]], read: Callable[[Path], dict]) -> Iterator[tuple[str, Path, dict]]:
    """The runs with what is read from them; those that cannot be read are left out, with a warning."""
    for experiment, run in runs:
        try:
            yield experiment, run, read(run)
        except ValueError as error:
            logger.warning("left out: %s", error)


def _runs_with(folders: Iterable[Path], file: str) -> Iterator[tuple[str, Path]]:
    """(experiment, run folder) of every run folder that holds the file, by experiment and run id, each once."""
    found: dict[Path, tuple[str, Path]] = {}
    for folder in folders:
        if not folder.is_dir():
            raise FileNotFoundError(f"{folder} is not a folder; name a folder that holds run folders, such as exps")
        for path in _files_named(folder, file):
            run = path.parent
            if not run.name.isdecimal() or run.resolve() in found:
                continue
            inside = run != folder and run.parent != folder
            experiment = run.parent.relative_to(folder).as_posix() if inside else run.resolve().parent.name
            found[run.resolve()] = (experiment, run)
    yield from sorted(found.values(), key=lambda pair: (pair[0], int(pair[1].name)))


def _files_named(folder: Path, file: str) -> Iterator[Path]:
    """Files of this name at any depth; what lies inside a run folder is passed over, for there are many predictions."""
    for parent, folders, files in os.walk(folder):
        if file in files:
            yield Path(parent) / file
        if CONFIG in files or file in files:
            folders.clear()


def _existing(path: Path) -> Path | None:
    """The path as it is, or below the repository root, where a run of another working folder may have meant it."""
    return next((place for place in (path, ROOT / path) if place.exists()), None)
