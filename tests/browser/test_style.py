"""The page's own code: linted, type-checked, and nothing in it that its security policy forbids."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SERVING = ROOT / "Stage2" / "serving"
COMMANDS = ROOT / ".venv" / "workbench" / "node_modules" / ".bin"
NODE = Path(sys.executable).with_name("node")


@pytest.mark.parametrize(
    "command",
    [
        ("eslint", "--max-warnings=0", "--config", str(SERVING / "eslint.config.js"), str(SERVING / "static")),
        ("tsc", "--project", str(SERVING)),
    ],
    ids=lambda command: command[0],
)
def test_clean(command):
    if not (COMMANDS / command[0]).exists() or not NODE.exists():
        pytest.skip(f"{command[0]} was not fetched: run bash tools/setup.sh --dev")
    words = [str(NODE), str(COMMANDS / command[0]), *command[1:]]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_page_has_no_inline_code_and_asks_no_other_server():
    html = (SERVING / "static" / "index.html").read_text()
    assert not re.search(r"\son\w+=|\sstyle=|<style|<script(?![^>]*\ssrc=)", html)
    for path in (SERVING / "static").iterdir():
        text = path.read_text().replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?://|innerHTML|eval\(", text), path.name
        assert len(text.splitlines()) <= 300, path.name


def test_the_lock_names_no_registry():
    assert "resolved" not in (SERVING / "package-lock.json").read_text()
