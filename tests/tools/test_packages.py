"""What an install holds: every folder of code, and the files that code reads."""

import subprocess
import tomllib
from pathlib import Path

from setuptools import find_packages

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_every_folder_of_code_is_a_package():
    settings = PROJECT["tool"]["setuptools"]["packages"]["find"]
    found = set(find_packages(str(ROOT), include=settings["include"]))
    stages = [path for stage in ("Stage1", "Stage2") for path in (ROOT / stage).rglob("*.py")]
    folders = {path.parent.relative_to(ROOT) for path in stages}  # rglob follows no links
    assert found == {".".join(folder.parts) for folder in folders}


def test_templates_are_installed():
    patterns = PROJECT["tool"]["setuptools"]["package-data"]
    folders = {ROOT / name.replace(".", "/"): own for name, own in patterns.items()}
    installed = {path for folder, own in folders.items() for pattern in own for path in folder.glob(pattern)}
    listed = subprocess.check_output(["git", "ls-files", "Stage1", "Stage2"], cwd=ROOT, text=True)
    files = {ROOT / name for name in listed.splitlines()}
    assert {path for path in files if path.is_file() and path.suffix not in (".py", ".md")} - installed == set()
