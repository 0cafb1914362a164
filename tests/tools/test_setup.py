"""tools/setup.sh with stand-ins for python, df and pip: what a newcomer is told, and that nothing is done twice."""

import os
import shutil
import signal
import stat
import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MADE_FROM = [
    *(f"requirements{kind}.txt" for kind in ("", "-dev", "-selfsup", "-cluster", "-workbench")),
    "pyproject.toml",
]
PAGE = Path("Stage2") / "serving"  # the npm project of the workbench's page
NEEDED_COMMANDS = [
    "bash", "awk", "cat", "cp", "dirname", "du", "env", "flock", "grep", "head", "mkdir", "mv", "rm", "sed",
    "sleep", "tail",
]  # fmt: skip

# Plays python and, through `-m pip`, pip; every pip call goes to $CALLS.
FAKE_PYTHON = """#!/usr/bin/env bash
case "$*" in
    *sys.version_info*) echo "${FAKE_VERSION:-3.12}" ;;
    *"import venv"*) exit "${FAKE_NO_VENV:-0}" ;;
    "-m venv "*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" && cp "$(dirname "$CALLS")/commands/npm" "$3/bin" ;;
    "-m pip --version") ;;
    "-m pip "*)
        echo "$*" >>"$CALLS"
        if [[ -n "${FAKE_PIP_SLEEP:-}" ]]; then sleep "$FAKE_PIP_SLEEP"; fi
        if [[ -n "${FAKE_PIP_OUTPUT:-}" ]]; then echo "$FAKE_PIP_OUTPUT"; exit 1; fi ;;
esac
"""
# npm, which brings the viewer; every call goes to $CALLS too.
FAKE_NPM = """#!/usr/bin/env bash
echo "npm $*" >>"$CALLS"
if [[ -n "${FAKE_NPM_FAILS:-}" ]]; then exit 1; fi
mkdir -p node_modules/@niivue/niivue/dist && echo viewer >node_modules/@niivue/niivue/dist/index.js
"""
FAKE_DF = """#!/usr/bin/env bash
echo "Filesystem 1024-blocks Used Available Capacity Mounted on"
echo "disk 99 9 ${FAKE_FREE_KB:-99000000} 9% /"
"""


class Checkout:
    """A copy of what setup.sh reads, and a PATH that holds the stand-ins and nothing else of the machine's Pythons."""

    def __init__(self, folder: Path):
        self.root, self.commands, self.calls = folder / "a checkout", folder / "commands", folder / "calls"
        (self.root / "tools").mkdir(parents=True)
        self.commands.mkdir()
        shutil.copy(ROOT / "tools" / "setup.sh", self.root / "tools")
        for name in MADE_FROM:
            (self.root / name).write_text(f"# {name}\n")
        for name in NEEDED_COMMANDS:
            (self.commands / name).symlink_to(shutil.which(name))
        (self.root / PAGE).mkdir(parents=True)
        for name in ("package.json", "package-lock.json", ".npmrc"):
            (self.root / PAGE / name).write_text("{}\n")
        self.add_command("npm", FAKE_NPM)
        self.add_command("python3.12", FAKE_PYTHON)
        self.add_command("df", FAKE_DF)

    def add_command(self, name: str, text: str) -> None:
        path = self.commands / name
        path.write_text(text)
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen:
        return subprocess.Popen(
            ["bash", str(self.root / "tools" / "setup.sh"), *arguments],
            cwd="/",
            env={"PATH": str(self.commands), "HOME": "/", "CALLS": str(self.calls), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
        process = self.start(*arguments, **environment)
        output, errors = process.communicate(timeout=30)
        return subprocess.CompletedProcess(process.args, process.returncode, output, errors)

    def pip_calls(self) -> list[str]:
        return [call for call in self._called() if not call.startswith("npm ")]

    def npm_calls(self) -> list[str]:
        return [call for call in self._called() if call.startswith("npm ")]

    def _called(self) -> list[str]:
        return self.calls.read_text().splitlines() if self.calls.exists() else []


def viewer_of(checkout: "Checkout") -> Path:
    return checkout.root / ".venv" / "workbench" / "vendor" / "niivue.js"


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def assert_one_sentence(done: subprocess.CompletedProcess, *parts: str) -> None:
    assert done.returncode not in (0, 127)
    last = done.stderr.strip().splitlines()[-1]
    for part in parts:
        assert part in last, done.stderr


def test_installs_pins_then_the_repository_without_fetching_more(checkout):
    done = checkout.run()
    assert done.returncode == 0, done.stderr
    pins, editable = checkout.pip_calls()
    assert pins.endswith(f"-r {checkout.root}/requirements.txt")
    assert "--no-build-isolation --no-deps -e" in editable and editable.endswith(str(checkout.root))
    assert "takes a few minutes" in done.stderr
    assert not (checkout.root / ".venv" / "tmp").exists()


def test_second_run_is_instant_and_calls_no_pip(checkout):
    checkout.run("--dev")
    before = checkout.pip_calls()
    started = time.monotonic()
    done = checkout.run("--dev", FAKE_PIP_OUTPUT="must not be called")
    assert done.returncode == 0 and done.stderr == ""
    assert time.monotonic() - started < 1
    assert checkout.run().returncode == 0  # what the tests need includes what the experiments need
    assert checkout.pip_calls() == before


@pytest.mark.parametrize("name", MADE_FROM)
def test_changed_requirements_are_installed(checkout, name):
    checkout.run("--dev")
    before = len(checkout.pip_calls())
    (checkout.root / name).write_text("something-else==1\n")
    assert checkout.run("--dev").returncode == 0
    assert len(checkout.pip_calls()) == before + 2


def test_dev_after_plain_installs_the_rest(checkout):
    checkout.run()
    assert checkout.run("--dev").returncode == 0
    assert checkout.pip_calls()[2].endswith("requirements-dev.txt")
    assert checkout.run("--cluster").returncode == 0  # which the tests need too
    assert len(checkout.pip_calls()) == 4


def test_cluster_after_plain_installs_ray_and_submitit(checkout):
    checkout.run()
    assert checkout.run("--cluster").returncode == 0
    assert checkout.pip_calls()[2].endswith("requirements-cluster.txt") and len(checkout.pip_calls()) == 4
    assert checkout.run("--cluster").returncode == 0 and len(checkout.pip_calls()) == 4
    assert checkout.npm_calls() == []


def test_two_extras_are_installed_in_one_call(checkout):
    assert checkout.run("--cluster", "--workbench").returncode == 0
    pins = checkout.pip_calls()[0]
    assert "requirements-cluster.txt" in pins and pins.endswith("requirements-workbench.txt")
    for extra in ("--cluster", "--workbench"):
        assert checkout.run(extra).stderr == ""
    assert len(checkout.pip_calls()) == 2 and len(checkout.npm_calls()) == 1


def test_the_workbench_brings_its_server_and_the_viewer_of_its_page(checkout):
    done = checkout.run("--workbench")
    assert done.returncode == 0, done.stderr
    assert checkout.pip_calls()[0].endswith("requirements-workbench.txt")
    assert ["--omit=dev" in call for call in checkout.npm_calls()] == [True]
    assert viewer_of(checkout).read_text() == "viewer\n"
    assert checkout.run("--workbench").stderr == "" and len(checkout.npm_calls()) == 1
    assert checkout.run("--dev").returncode == 0  # and what checks the page
    assert ["--omit=dev" in call for call in checkout.npm_calls()] == [True, False]
    assert checkout.run("--workbench").stderr == ""
    (checkout.root / PAGE / "package-lock.json").write_text("{1}\n")
    before = checkout.pip_calls()
    assert checkout.run("--workbench").returncode == 0 and len(checkout.npm_calls()) == 3
    assert checkout.pip_calls() == before


def test_the_plain_install_brings_no_page(checkout):
    assert checkout.run().returncode == 0
    assert checkout.npm_calls() == [] and not viewer_of(checkout).exists()


def test_no_npm_registry(checkout):
    done = checkout.run("--workbench", FAKE_NPM_FAILS="1")
    assert_one_sentence(done, "npm registry gave no packages", "run this again")
    done = checkout.run("--dev", FAKE_NPM_FAILS="1")
    assert done.returncode == 0 and "its tests will be skipped" in done.stderr
    assert checkout.run("--dev").returncode == 0 and viewer_of(checkout).exists()


def test_moved_repository_is_installed_again(checkout):
    checkout.run()
    checkout.root = checkout.root.rename(checkout.root.with_name("elsewhere"))
    assert checkout.run().returncode == 0
    assert checkout.pip_calls()[-1].endswith("elsewhere")


def test_environment_whose_python_is_gone_is_made_again(checkout):
    checkout.run()
    (checkout.root / ".venv" / "bin" / "python").unlink()
    done = checkout.run()
    assert done.returncode == 0 and "creating .venv" in done.stderr
    assert len(checkout.pip_calls()) == 4


@pytest.mark.parametrize("version", ["3.9", "3.10", "3.15", "2.7"])
def test_wrong_python(checkout, version):
    (checkout.commands / "python3.12").rename(checkout.commands / "python3")
    assert_one_sentence(
        checkout.run(FAKE_VERSION=version), f"found Python {version} (python3)", "3.11 to 3.14 is needed", "PYTHON=/"
    )
    assert not (checkout.root / ".venv" / "bin").exists()


@pytest.mark.parametrize("version", ["3.11", "3.13", "3.14"])
def test_newer_and_older_pythons_that_fit(checkout, version):
    (checkout.commands / "python3.12").rename(checkout.commands / f"python{version}")
    done = checkout.run(FAKE_VERSION=version)
    assert done.returncode == 0 and f"with python{version} ({version})" in done.stderr


def test_no_python(checkout):
    (checkout.commands / "python3.12").unlink()
    assert_one_sentence(checkout.run(), "found no working Python", "3.11 to 3.14 is needed")


def test_python_variable_is_used_or_refused_never_replaced(checkout, tmp_path):
    own = tmp_path / "own python"
    shutil.copy(checkout.commands / "python3.12", own)
    done = checkout.run(PYTHON=str(own))
    assert done.returncode == 0 and f"with {own}" in done.stderr
    shutil.rmtree(checkout.root / ".venv")
    assert_one_sentence(checkout.run(PYTHON=str(tmp_path / "absent")), "no working Python at", "absent")


def test_missing_venv_module(checkout):
    assert_one_sentence(checkout.run(FAKE_NO_VENV="1"), "has no venv module", "apt install python3.12-venv")
    assert checkout.run().returncode == 0


def test_no_disk_space_before_the_install(checkout):
    done = checkout.run(FAKE_FREE_KB="1000000")
    assert_one_sentence(done, "not enough disk space", "found 976 MB free", "8300 MB")
    assert not checkout.pip_calls()


@pytest.mark.parametrize(
    "output, sentence",
    [
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", "disk became full"),
        (
            "WARNING: Retrying (Retry(total=0)) after connection broken by 'NewConnectionError(...)': /simple/torch/\n"
            "ERROR: Could not find a version that satisfies the requirement torch==2 (from versions: none)",
            "pip cannot reach a package index",
        ),
        ("ERROR: torch==2 has a wrong hash", "the install failed: ERROR: torch==2 has a wrong hash"),
    ],
)
def test_failed_install_is_explained_and_taken_up_again(checkout, output, sentence):
    done = checkout.run(FAKE_PIP_OUTPUT=output)
    log = checkout.root / ".venv" / "install.log"
    assert_one_sentence(done, sentence, f"log: {log}")
    assert output in log.read_text()
    assert not (checkout.root / ".venv" / "tmp").exists()
    assert checkout.run().returncode == 0
    assert checkout.pip_calls()[-1].endswith(str(checkout.root))


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_killed_install_is_done_again(checkout, how):
    process = checkout.start(FAKE_PIP_SLEEP="20")
    deadline = time.monotonic() + 10
    while not checkout.pip_calls() and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(process.pid, how)
    process.communicate(timeout=10)
    assert process.returncode != 0
    assert checkout.run().returncode == 0
    assert len(checkout.pip_calls()) == 3  # the killed one, the pins, the repository


def test_two_runs_at_once_install_once(checkout):
    first, second = (checkout.start(FAKE_PIP_SLEEP="0.5") for _ in range(2))
    errors = first.communicate(timeout=30)[1] + second.communicate(timeout=30)[1]
    assert (first.returncode, second.returncode) == (0, 0), errors
    assert len(checkout.pip_calls()) == 2
    assert "waiting for it" in errors


def test_unknown_argument(checkout):
    assert_one_sentence(checkout.run("--development"), "unknown argument '--development'", "--dev")
