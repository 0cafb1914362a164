"""Every command, option, setting and path that a page names exists."""

import io
import re
import runpy
import shlex
import subprocess
import sys
from contextlib import redirect_stdout
from functools import cache
from pathlib import Path

import pytest
from docs.pages import PAGES, ROOT, code_blocks, name_of, without_code

from Stage2.runs.settings import DEFAULTS, flatten

PLACES = [ROOT, ROOT / "Stage1", ROOT / "Stage2"]
ENTRIES = ("training.py", "validation.py", "finetuning.py")
OTHERS_OPTIONS = {"--logdir", "--partition", "--time", "--dependency", "--gres"}  # of tensorboard and sbatch
REPOSITORY_PATH = re.compile(r"(?:Stage[12]|tools|examples|tests|configs|docs|data)/[\w./-]*\w/?")


@cache
def help_of(program: str, command: str | None = None) -> str:
    """What a program says of itself; a subcommand's own help where there is one. The entry points of Stage 2 run in
    this process, for they import seconds of libraries."""
    if Path(program).name in ENTRIES:
        said = io.StringIO()
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(said), pytest.raises(SystemExit) as end:
            patch.setattr(sys, "argv", [program, "--help"])
            runpy.run_path(str(ROOT / program), run_name="__main__")
        assert not end.value.code
        return said.getvalue()
    words = ["bash"] if program.endswith(".sh") else [sys.executable]
    words += [str(ROOT / program), *([command] if command else []), "--help"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert done.returncode == 0, f"{program} {command}: {done.stderr}"
    return done.stdout


def commands(page: Path) -> list[list[str]]:
    """The words of the commands in the page's shell blocks, without comments, pipes and loops."""
    found = []
    for block in code_blocks(page, "bash"):
        for line in block.replace("\\\n", " ").splitlines():
            line = re.sub(r"\[(?=--|MORE)|(?<=\w)\](?= |$)", "", line).replace("...]", "")
            for part in re.split(r"\||&&|;|\bdo\b", line):
                words = shlex.split(part, comments=True)
                found += [words] if words else []
    return found


def programs(page: Path) -> list[tuple[str, list[str], list[str]]]:
    """(program relative to the root, words before it, words after it) of the commands that start one of ours."""
    found = []
    for words in commands(page):
        for index, word in enumerate(words):
            if re.fullmatch(r"(\S*/)?[\w${}*-]+\.(py|sh)", word) and words[index - 1] in ("bash", "python", "python3"):
                found.append((locate(word, page), words[: index - 1], words[index + 1 :]))
    return found


def locate(word: str, page: Path) -> str:
    """The program, told from the root: a name may be as seen from Stage1/ or Stage2/, or of a script in examples/."""
    pattern = re.sub(r"\$\{?\w+\}?", "*", word)
    for place in PLACES:
        for match in sorted(place.glob(pattern)) if not pattern.startswith("*") else []:
            return str(match.resolve().relative_to(ROOT))
    scripts = sorted((ROOT / "examples").rglob(Path(pattern).name))
    assert scripts, f"{name_of(page)} names {word}, which is not there"
    return str(scripts[0].relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_programs_options_and_settings_exist(page: Path):
    for program, before, after in programs(page):
        name = Path(program).name
        listed = re.findall(r"^    ([a-z_0-9]+)(?: |$)", help_of(program), re.M)  # subcommands
        subcommand = after[0] if after and after[0] in listed else None
        text = help_of(program) + (help_of(program, subcommand) if subcommand else "")
        if name in ENTRIES:
            settings = dict(flatten(DEFAULTS))
            assert after[0] == "with"
            unknown = [word for word in after[1:] if word.partition("=")[0] not in settings]
        else:
            options = [word.partition("=")[0] for word in after if word.startswith("--")]
            unknown = [option for option in options if not re.search(rf"{option}\b", text)]
        if program.startswith("examples/mri"):
            unknown += [word for word in after if word.partition("=")[0] not in dict(flatten(DEFAULTS))]
            unknown += [word for word in before if "=" in word and word.partition("=")[0] not in text]
        assert unknown == [], f"{name_of(page)}: {program} knows no {', '.join(unknown)}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_options_named_in_the_text_exist(page: Path):
    tools = [str(path.relative_to(ROOT)) for folder in ("tools", "examples") for path in (ROOT / folder).glob("*.*")]
    named = set(re.findall(r"`(--[a-z][\w-]*)", without_code(page.read_text()))) - OTHERS_OPTIONS
    known = "".join(help_of(tool) for tool in tools if tool.endswith((".py", ".sh"))) if named else ""
    for tool, command in (("prepare_data", "superpixels"), ("prepare_data", "roco"), ("prepare_data", "chaos"),
                          ("visualize", "segmentation"), ("benchmark", "stage2")):  # fmt: skip
        known += help_of(f"tools/{tool}.py", command) if named else ""
    assert [option for option in sorted(named) if not re.search(rf"{option}\b", known)] == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_paths_named_in_the_text_exist(page: Path):
    """Those of the repository; data and runs of the examples are not there."""
    for code in re.findall(r"`([^`\n]+)`", without_code(page.read_text())):
        if REPOSITORY_PATH.fullmatch(code) and not code.startswith("data/"):
            assert any((place / code).exists() for place in [*PLACES, page.parent]), f"{name_of(page)} names {code}"


def test_set_up_main_job_and_tests_are_one_line_each():
    lines = code_blocks(PAGES[0], "bash")[0].splitlines()
    assert [line.split()[:2] for line in lines[1:]] == [
        ["bash", f"{name}"] for name in ("tools/setup.sh", "examples/quickstart.sh", "tools/test.sh")
    ]
