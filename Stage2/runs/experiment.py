"""Sacred experiments of Stage 2: checked settings, run folders, one-line errors."""

import copy
import logging
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

with warnings.catch_warnings():  # sacred imports pkg_resources, which warns of its own end; the pins keep it
    warnings.filterwarnings("ignore", message="pkg_resources is deprecated")
    from sacred import SETTINGS, Experiment
    from sacred.host_info import HostInfoGetter
    from sacred.run import Run
    from sacred.utils import apply_backspaces_and_linefeeds, ensure_wellformed_argv

from docopt import docopt

from Stage2.datasets.catalog import run_name
from Stage2.datasets.folds import count_shots
from Stage2.models.registry import ENCODERS, HEADS, PRECISIONS
from Stage2.run_folders.layout import experiment_folder
from Stage2.runs.interruption import RunInterrupted, interruptible
from Stage2.runs.mongo import configured_mirror
from Stage2.runs.observer import RunFolderObserver
from Stage2.runs.plain_config import merge, read_config_words, with_present_names
from Stage2.runs.provenance import experiment_info, torch_state
from Stage2.runs.settings import DEFAULTS, check_config, check_trains, with_protocol_defaults

ROOT = Path(__file__).resolve().parents[2]

SETTINGS.CAPTURE_MODE = "sys"  # "fd" would hold back the progress bars of child processes
SETTINGS.CONFIG.READ_ONLY_CONFIG = False  # its read-only lists are no plain values for a checkpoint


class Stage2Experiment(Experiment):
    """A sacred experiment with our settings; bad input ends it with one sentence instead of a traceback.

    Args:
        name: of the experiment.
        overrides: settings whose default differs in this experiment, nested as `Stage2.runs.settings.DEFAULTS`.
        trains: whether it trains; settings of tests alone are refused then.
    """

    def __init__(self, name: str, overrides: Mapping[str, Any] | None = None, trains: bool = True):
        super().__init__(
            name, base_dir=str(ROOT), save_git_info=False, additional_host_info=[HostInfoGetter(torch_state, "torch")]
        )
        self.logger = logging.getLogger(name)
        self.trains = trains
        self.defaults = copy.deepcopy({**DEFAULTS, **(overrides or {})})
        self.add_config(self.defaults)
        self.captured_out_filter = apply_backspaces_and_linefeeds  # progress bars as they looked in the end
        self._words: list[str] = []

        @self.config_hook
        def prepare_run(config, command_name, logger):
            self.observers[:] = _observers(config) if command_name == self.default_command else []
            return {}

    def get_experiment_info(self) -> dict[str, Any]:
        """All source files, the git commit and all package versions; see `Stage2.runs.provenance.experiment_info`."""
        return experiment_info(self.path, ROOT)

    def run_commandline(self, argv: Sequence[str] | str | None = None) -> Run | None:
        """As sacred's, but it never sees the words after `with`: `run` reads them as plain data."""
        words = [str(word) for word in ensure_wellformed_argv(argv)]
        self._words = docopt(self.get_usage()[2], words[1:], default_help=False)["UPDATE"]
        for word in ("with", *self._words) if self._words else ():
            words.remove(word)
        return super().run_commandline(words)

    def run(
        self,
        command_name: str | None = None,
        config_updates: Mapping[str, Any] | None = None,
        named_configs: Sequence[str] = (),
        info: dict | None = None,
        meta_info: dict | None = None,
        options: dict | None = None,
    ) -> Run:
        """Run; bad input ends the process with status 1, SIGINT with 130, SIGTERM with 143, each with one line."""
        try:
            with interruptible():
                words, self._words = self._words, []
                given = read_config_words([*named_configs, *words])
                given = with_protocol_defaults(merge(given, with_present_names(config_updates or {})))
                wanted = merge(self.defaults, given)
                check_config(wanted, registered_choices())
                if self.trains:
                    check_trains(wanted)
                return super().run(command_name, given, (), info, meta_info, options)
        except RunInterrupted as interruption:
            print(f"interrupted: {interruption}", file=sys.stderr)
            raise SystemExit(interruption.status) from None
        except (ValueError, OSError) as error:
            if (options or {}).get("--debug"):
                raise
            print(f"error: {_sentence(error)}", file=sys.stderr)
            raise SystemExit(1) from error


def registered_choices() -> dict[str, Sequence[str]]:
    """The possible values of settings that name an entry of a registry."""
    return {
        "modelname": ENCODERS,
        "clsname": HEADS,
        "precision": PRECISIONS,
    }


def _observers(config: Mapping[str, Any]) -> list:
    """What keeps a run: its folder, and a database where one is configured."""
    folder = experiment_folder(
        config["path"]["log_dir"],
        config["exp_prefix"],
        run_name(config["dataset"]),
        config["label_sets"],
        count_shots(config["support_idx"]),
    )
    observer = RunFolderObserver(str(folder))
    mirror = configured_mirror(observer)
    return [observer] if mirror is None else [observer, mirror]


def _sentence(error: Exception) -> str:
    """An error in one line; of one that comes from the system as it is, with the file and a remedy."""
    if not isinstance(error, OSError) or error.errno is None:
        return str(error).replace("\n", " ")
    return (
        f"{error.filename or 'a file of the run'} could not be read or written ({error.strerror}); make room, correct "
        "its permissions, or give another path.log_dir or path.cache_dir."
    )


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
