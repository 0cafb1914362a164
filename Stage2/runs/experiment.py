"""Sacred experiments of Stage 2: checked settings, run folders, one-line errors."""

import copy
import logging
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

with warnings.catch_warnings():  # sacred imports pkg_resources, which warns of its own end; the pins keep it
    warnings.filterwarnings("ignore", message="pkg_resources is deprecated")
    from sacred import SETTINGS, Experiment
    from sacred.host_info import HostInfoGetter
    from sacred.run import Run
    from sacred.utils import apply_backspaces_and_linefeeds

import torch

from Stage2.datasets.catalog import DataSet, run_name
from Stage2.run_folders.layout import experiment_folder
from Stage2.runs.interruption import RunInterrupted, interruptible
from Stage2.runs.mongo import configured_mirror
from Stage2.runs.observer import RunFolderObserver
from Stage2.runs.provenance import experiment_info, torch_state
from Stage2.runs.settings import DEFAULTS, check_config, with_present_names

ROOT = Path(__file__).resolve().parents[2]

SETTINGS.CAPTURE_MODE = "sys"  # "fd" would hold back the progress bars of child processes
SETTINGS.CONFIG.READ_ONLY_CONFIG = False  # its read-only lists are no plain values for a checkpoint


class Stage2Experiment(Experiment):
    """A sacred experiment with our settings; bad input ends it with one sentence instead of a traceback.

    Args:
        name: of the experiment.
        overrides: settings whose default differs in this experiment, nested as `Stage2.runs.settings.DEFAULTS`.
    """

    def __init__(self, name: str, overrides: Mapping[str, Any] | None = None):
        super().__init__(
            name, base_dir=str(ROOT), save_git_info=False, additional_host_info=[HostInfoGetter(torch_state, "torch")]
        )
        self.logger = logging.getLogger(name)
        self.add_config(copy.deepcopy({**DEFAULTS, **(overrides or {})}))
        self.captured_out_filter = apply_backspaces_and_linefeeds  # progress bars as they looked in the end

        @self.config_hook
        def prepare_run(config, command_name, logger):
            self._prepare_run(config, command_name)
            return {}

    def _prepare_run(self, config: dict, command_name: str) -> None:
        """Check the settings, and let the run be kept in its experiment folder."""
        check_config(config)
        if command_name == self.default_command:
            n_shots = len(config["support_idx"])
            folder = experiment_folder(
                config["path"]["log_dir"],
                config["exp_prefix"],
                run_name(config["dataset"]),
                config["label_sets"],
                n_shots,
            )
            observer = RunFolderObserver(str(folder))
            mirror = configured_mirror(observer)
            self.observers[:] = [observer] if mirror is None else [observer, mirror]

    def get_experiment_info(self) -> dict[str, Any]:
        """All source files, the git commit and all package versions; see `Stage2.runs.provenance.experiment_info`."""
        return experiment_info(self.path, ROOT)

    def run(self, *args: Any, **kwargs: Any) -> Run:
        """Run; bad input ends the process with status 1, SIGINT with 130, SIGTERM with 143, each with one line."""
        def run_checked(command_name=None, config_updates=None, *others, **options):
            return super(Stage2Experiment, self).run(
                command_name, with_present_names(config_updates or {}), *others, **options
            )

        try:
            with interruptible():
                return run_checked(*args, **kwargs)
        except RunInterrupted as interruption:
            print(f"interrupted: {interruption}", file=sys.stderr)
            raise SystemExit(interruption.status) from None
        except (ValueError, OSError) as error:
            options = kwargs.get("options") or {}
            if options.get("--debug"):
                raise
            print(f"error: {error}", file=sys.stderr)
            raise SystemExit(1) from error


class _CurrentStderr:
    """Whatever sys.stderr is when something is written: a run captures its console by exchanging it."""

    def write(self, text: str) -> int:
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()


def configure_logging() -> None:
    """Log lines with time of day on standard error."""
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=_CurrentStderr(), force=True
    )
    logging.captureWarnings(True)


def run_folder(run: Run) -> Path:
    """Folder of a run."""
    return next(Path(observer.dir) for observer in run.observers if isinstance(observer, RunFolderObserver))


def data_folder(data_dir: str | None, data_set: DataSet) -> Path:
    """Processed folder: the given one, or the data set's own below the repository root.

    Raises:
        ValueError: neither is known.
    """
    if data_dir is None and data_set.default_folder is None:
        raise ValueError(f"{data_set.source} names no default_folder; name the processed folder by path.data_dir=DIR.")
    return Path(data_dir) if data_dir is not None else ROOT / data_set.default_folder


def choose_device(name: str) -> torch.device:
    """Device by name; "auto" is CUDA where there is one, else the CPU."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"device={name} is unknown; choose auto, cpu or cuda.") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device={name}: this machine has no CUDA device; choose auto or cpu.")
    return device
