"""Every shell script of the repository: clean under shellcheck, strict, and with a help text."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = sorted([*(ROOT / "tools").rglob("*.sh"), *(ROOT / "examples").rglob("*.sh"), ROOT / ".ci" / "run"])
SHELLCHECK = shutil.which("shellcheck", path=str(Path(sys.executable).parent)) or shutil.which("shellcheck")


def name_of(script: Path) -> str:
    return str(script.relative_to(ROOT))


def test_scripts_are_found():
    assert ROOT / "tools" / "setup.sh" in SCRIPTS and len(SCRIPTS) > 3


@pytest.mark.skipif(SHELLCHECK is None, reason="shellcheck is not installed (requirements-dev.txt has it)")
def test_scripts_are_shellcheck_clean():
    done = subprocess.run([SHELLCHECK, "--external-sources", *map(str, SCRIPTS)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("script", SCRIPTS, ids=name_of)
def test_script_stops_at_the_first_error(script):
    text = script.read_text()
    assert text.startswith("#!/usr/bin/env bash\n")
    assert "\nset -euo pipefail\n" in text


@pytest.mark.parametrize("script", SCRIPTS, ids=name_of)
def test_script_explains_itself_from_any_directory(script, tmp_path):
    environment = {"PATH": os.environ["PATH"]}  # no HOME either
    done = subprocess.run(
        ["bash", str(script), "--help"], capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert "usage" in done.stdout.lower()
    assert not any(tmp_path.iterdir()), "help must write nothing"
