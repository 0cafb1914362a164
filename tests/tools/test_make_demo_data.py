"""tools/make_demo_data.py as a command: what it writes, what it says, what a kill leaves."""

import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tool_modules import load_tool

SCRIPT = Path(__file__).resolve().parents[2] / "tools" / "make_demo_data.py"
SMALL = ("--mr-scans", "1", "--ct-scans", "1", "--radiographs", "2", "--size", "64", "--workers", "1")


def run(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True, timeout=120)


def test_makes_every_part_then_finds_it_there(tmp_path):
    first = run(str(tmp_path), *SMALL)
    assert first.returncode == 0, first.stderr
    names = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert names == {
        *(f"{part}/manifest.json" for part in ("MR", "CT", "radiographs")),
        *("MR/image_1.nii.gz", "MR/label_1.nii.gz", "CT/image_0.nii.gz", "CT/label_0.nii.gz"),
        *("radiographs/radiograph_0000.jpg", "radiographs/radiograph_0001.jpg"),
    }
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    second = run(str(tmp_path), *SMALL)
    assert second.returncode == 0 and second.stdout.count("already there") == 3
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before < 5  # seconds of work, mostly imports


@pytest.fixture(scope="module")
def main():
    """The command's main function."""
    return load_tool("make_demo_data").main


def test_makes_only_what_is_asked_for_and_other_parameters_are_one_sentence_on_stderr(main, tmp_path, capsys):
    only = [str(tmp_path), "--only", "radiographs", *SMALL]
    assert main(only) == 0
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["radiographs"]
    capsys.readouterr()
    assert main([*only, "--seed", "9"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("make_demo_data.py: ") and said.count("\n") == 1
    assert "seed 0 instead of 9" in said and "--overwrite" in said


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("--only", "mri"), "--only mri: expected one or more of mr, ct, radiographs"),
        (("--mr-scans", "0"), "counts are at least 1"),
        (("--size", "8"), "--size at least 64"),
    ],
)
def test_bad_options_are_named(main, tmp_path, capsys, arguments, message):
    with pytest.raises(SystemExit) as end:
        main([str(tmp_path / "out"), *arguments])
    assert end.value.code == 2 and message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_kill_leaves_no_half_written_folder_and_no_process(tmp_path):
    arguments = [str(tmp_path), "--only", "radiographs", "--radiographs", "20", "--workers", "2"]
    process = subprocess.Popen([sys.executable, str(SCRIPT), *arguments], stdout=subprocess.PIPE, text=True)
    hidden = tmp_path / ".radiographs.partial"
    deadline = time.monotonic() + 60
    while not list(hidden.glob("radiograph_*.jpg")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert not (tmp_path / "radiographs").exists()
    process.stdout.read()  # ends when the last worker, which holds the pipe too, has ended
    kept = {path.name: path.read_bytes() for path in hidden.glob("radiograph_*.jpg")}
    assert kept
    assert all(data.endswith(b"\xff\xd9") for data in kept.values()), "every image that has its name is whole"
    again = run(*arguments)
    assert again.returncode == 0, again.stderr
    assert len(list((tmp_path / "radiographs").glob("*.jpg"))) == 20 and not hidden.exists()
    assert not list((tmp_path / "radiographs").glob(".*")), "no temporary file is left"
