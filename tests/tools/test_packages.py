"""What an install holds: every folder of code, and the files that code reads."""

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
    patterns = PROJECT["tool"]["setuptools"]["package-data"]["*"]
    read = [path for stage in ("Stage1", "Stage2") for path in (ROOT / stage).rglob("*.*")]
    others = {path.suffix for path in read if path.is_file() and path.suffix not in (".py", ".pyc", ".md")}
    assert others <= {pattern.removeprefix("*") for pattern in patterns}
