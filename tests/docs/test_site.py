"""The documentation builds as a site without a warning."""

import os
import subprocess
import sys
from pathlib import Path

from docs.pages import ROOT, SITE


def test_the_site_builds_without_warnings(tmp_path: Path):
    """mkdocs-material tells of its own future on every start; that is no warning about our pages."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    quiet = {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=os.environ | quiet, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    for page in SITE:
        name = "index.html" if page.stem == "index" else f"{page.stem}/index.html"
        assert "<article" in (tmp_path / "site" / name).read_text()
