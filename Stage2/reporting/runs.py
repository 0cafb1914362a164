"""The run folders below a folder: tested ones with their results, trained ones with their curves, states of all.

Files that are damaged leave their run out, with one line that names them; the others go on.
"""

import logging
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from Stage2.datasets.catalog import DataSet, get_dataset
from Stage2.datasets.dataset_file import is_dataset_file
from Stage2.io.names import MANIFEST
from Stage2.io.text import one_line
from Stage2.reporting.checks import check_config, check_results, check_status
from Stage2.reporting.curves import STAGE2_KINDS, Curves, read_curves
from Stage2.reporting.names import over_label_sets, without_fold_and_seed
from Stage2.run_folders.layout import (
    CONFIG,
    FULL_VOLUME,
    PROTOTYPES,
    RESULTS,
    SCALARS,
    STATUS,
    list_runs,
    method_of,
    read_config,
    read_results,
    read_status,
)

logger = logging.getLogger(__name__)

ROOT = Path(__file__).resolve().parents[2]
MEAN = "mean"
IN_RANGE = "in_range"
TRAINED_BY = STAGE2_KINDS["query_loss"]  # the curve that every training and fine-tuning has


@dataclass(frozen=True)
class TestedRun:
    """One run folder that holds ``results.json``.

    Attributes:
        experiment: path of the experiment folder below the folder that was searched.
        run: run id, the number that sacred gave.
        results: content of ``results.json``.
        folder: the run folder.
        config: content of ``config.json``; empty where there is none.
        seed: of the training that made the tested snapshot, where its run folder is still there, else of the test; of
            the test too where a network was adapted, which is random by itself.
    """

    __test__ = False  # no test class, whatever its name

    experiment: str
    run: int
    results: Mapping
    folder: Path
    config: Mapping = field(default_factory=dict)
    seed: int | None = None

    def data_set(self) -> DataSet | None:
        """The data set that was tested; None where its file is gone."""
        name = self.results["dataset"]
        configured = self.config.get("dataset") or name
        try:
            return get_dataset(configured if is_dataset_file(configured) else name)
        except (OSError, ValueError):
            return None

    def data_folder(self) -> Path | None:
        """The processed folder that was tested; None where it is gone."""
        given = (self.config.get("path") or {}).get("data_dir")
        if given is not None:
            return _existing(Path(given))
        data_set = self.data_set()
        return None if data_set is None or data_set.default_folder is None else _existing(Path(data_set.default_folder))

    def on_phantoms(self) -> bool:
        """Whether the tested scans are the demo's phantoms, which share the name of a real data set."""
        folder = self.data_folder()
        return folder is not None and (folder / MANIFEST).is_file()


class TrainedRun(NamedTuple):
    """One run folder of a training or fine-tuning: as in `TestedRun`, and its curves, name -> (steps, values)."""

    experiment: str
    run: int
    folder: Path
    curves: Curves


class RunState(NamedTuple):
    """What ``run.json`` says of any run.

    The status is sacred's; the start is in UTC; the commit of the code has a "+" where it was changed since, and is
    None where it was no git checkout.
    """

    experiment: str
    run: int
    entry_point: str
    status: str
    started: str
    host: str
    commit: str | None


def load_results(run: Path) -> dict:
    """``results.json`` of a run, checked for what tables and figures take from it.

    Raises:
        FileNotFoundError: the run has none.
        ValueError: the file is broken, lacks a field, or holds one of another kind.
    """
    results = read_results(run)
    check_results(results, run / RESULTS)
    return results


def load_tested_run(experiment: str, run: Path) -> TestedRun:
    """A tested run with its results and settings; raises as `load_results`, for ``config.json`` too."""
    results, config = load_results(run), read_config(run)
    check_config(config, run / CONFIG)
    made_by = config
    if results.get("snapshot") is not None and method_of(results) == PROTOTYPES:
        trained = _existing(Path(results["snapshot"]).parent.parent / CONFIG)
        if trained is not None:
            made_by = read_config(trained.parent)
            check_config(made_by, trained)
    number = int(run.name) if run.name.isdecimal() else 0
    return TestedRun(experiment, number, results, run, config, made_by.get("seed"))


def find_tested_runs(folders: Iterable[Path]) -> list[TestedRun]:
    """All tested runs below the folders, ordered by experiment and run id; each run folder once.

    Raises:
        FileNotFoundError: a folder does not exist, or none of them holds a result that can be read.
    """
    folders = list(folders)
    found = list(_readable(_runs_with(folders, RESULTS), load_tested_run))
    if not found:
        names = ", ".join(map(str, folders))
        raise FileNotFoundError(f"no <run id>/{RESULTS} below {names} that can be read; test an experiment first")
    return found


def find_trained_runs(folders: Iterable[Path]) -> list[TrainedRun]:
    """All runs below the folders that logged a training loss, ordered by experiment and run id.

    Raises:
        FileNotFoundError: a folder does not exist.
    """

    def load(experiment: str, run: Path) -> TrainedRun:
        return TrainedRun(experiment, int(run.name), run, read_curves(run, STAGE2_KINDS))

    trained = _readable(_runs_with(folders, SCALARS), load)
    return [run for run in trained if TRAINED_BY in run.curves and len(run.curves[TRAINED_BY][0])]


def list_states(folders: Iterable[Path]) -> list[RunState]:
    """State of every run below the folders that sacred has started, ordered by experiment and run id."""

    def load(experiment: str, run: Path) -> RunState:
        content = read_status(run)
        check_status(content, run / STATUS)
        about = content.get("experiment") or {}
        repository = ((about.get("repositories") or []) + [{}])[0]
        commit = repository.get("commit")
        return RunState(
            experiment=experiment, run=int(run.name), entry_point=about.get("name") or "",
            status=content.get("status") or "", started=(content.get("start_time") or "")[:19],
            host=(content.get("host") or {}).get("hostname") or "",
            commit=None if commit is None else commit[:10] + ("+" if repository.get("dirty") else ""),
        )  # fmt: skip

    return list(_readable(_runs_with(folders, STATUS), load))


def open_run(folder: Path, file: str) -> Path:
    """The folder itself when it is a run that has the file, else the latest run of the experiment folder that has it.

    Raises:
        FileNotFoundError: there is none.
    """
    for run in (folder, *reversed(list_runs(folder))):
        if (run / file).is_file():
            return run
    raise FileNotFoundError(
        f"neither {folder} nor a run in it holds {file}; name a run folder or experiment folder, or "
        f"{'test' if file == RESULTS else 'train'} this experiment first"
    )


def open_tested_run(folder: Path) -> TestedRun:
    """The tested run that a run folder or an experiment folder (its latest) means.

    Raises:
        FileNotFoundError, ValueError: there is none, or its results are broken.
    """
    run = open_run(folder, RESULTS).resolve()
    return load_tested_run(run.parent.name, run)


def region_of(results: Mapping, region: str) -> Mapping[str, Any]:
    """Class means and mean over the class ranges, or over the full volumes; empty where a test has none of these."""
    if region == IN_RANGE:
        return results
    means = {name: row[FULL_VOLUME] for name, row in results["class_means"].items() if FULL_VOLUME in row}
    return {"class_means": means, MEAN: results[MEAN].get(FULL_VOLUME, {})}


def _readable(runs: Iterable[tuple[str, Path]], load: Callable[[str, Path], Any]) -> Iterator[Any]:
    """What is loaded from the runs; those that cannot be read are left out, with a warning."""
    for experiment, run in runs:
        try:
            yield load(experiment, run)
        except (OSError, ValueError) as error:
            logger.warning("left out: %s", one_line(str(error)))


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
    yield from sorted(_told_apart(found.values()), key=lambda pair: (pair[0], int(pair[1].name)))


def _told_apart(runs: Collection[tuple[str, Path]]) -> list[tuple[str, Path]]:
    """The runs, with names from where all of them lie for experiments that lie apart and have names alike.

    Names are alike that differ in fold, seed and label set only. Where their folders do too, they are one experiment.
    """

    def alike(name: str | Path) -> str:
        return over_label_sets(without_fold_and_seed(str(name)))

    lying = {run: run.parent.absolute() for _, run in runs}
    places: dict[str, set[str]] = {}
    for name, run in runs:
        places.setdefault(alike(name), set()).add(alike(lying[run]))
    shared = [lying[run].parent for name, run in runs if len(places[alike(name)]) > 1]
    common = Path(os.path.commonpath(shared)) if shared else Path()
    return [
        (lying[run].relative_to(common).as_posix() if len(places[alike(name)]) > 1 else name, run) for name, run in runs
    ]


def _files_named(folder: Path, file: str) -> Iterator[Path]:
    """Files of this name at any depth; what lies inside a run folder is passed over, for there are many predictions."""
    for parent, folders, files in os.walk(folder):
        if file in files:
            yield Path(parent) / file
        if CONFIG in files or file in files:
            folders.clear()


def _existing(path: Path) -> Path | None:
    """The path as it is, or below the repository root, where a run of another working folder may have meant it."""
    for place in (path, ROOT / path):
        try:
            if place.exists():
                return place
        except (OSError, ValueError):  # no possible name
            return None
    return None
