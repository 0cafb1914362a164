"""The command that serves: what it refuses is one line, and it starts without loading a network's library."""

import importlib.util
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def call(capsys, tmp_path):
    """Run the command; gives the exit status and what was said on stderr."""
    spec = importlib.util.spec_from_file_location("serve", ROOT / "tools" / "serve.py")
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    (tmp_path / "scans").mkdir()
    (tmp_path / "short").write_text("secret")
    (tmp_path / "token").write_text("0123456789abcdef\n")
    (tmp_path / "bytes").write_bytes(b"\xff" * 20)
    (tmp_path / "empty.pth").touch()

    def run(*arguments: object) -> tuple[int, str]:
        status = tool.main(list(map(str, arguments)))
        said = capsys.readouterr()
        assert said.out == ""  # no address before all is well
        return status, said.err

    return run


def test_what_does_not_fit_is_one_line(call, tmp_path):
    data = ("--data", tmp_path / "scans")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        for arguments, said in (
            (("--data", tmp_path / "none"), "is no folder"),
            ((*data, "--host", "0.0.0.0"), "needs a token of your own"),
            ((*data, "--token-file", tmp_path / "short"), f"{tmp_path / 'short'} must hold a token of 16 or more"),
            ((*data, "--token-file", tmp_path / "bytes"), f"{tmp_path / 'bytes'} must hold a token of 16 or more"),
            ((*data, "--token-file", tmp_path), str(tmp_path)),
            ((*data, "--token-file", tmp_path / "none"), "none"),
            ((*data, "--port", taken.getsockname()[1]), "give another --port"),
            ((*data, "--certificate", tmp_path / "a", tmp_path / "b"), "expected a PEM file"),
            ((*data, "--certificate", tmp_path / "short", tmp_path / "token"), f"{tmp_path / 'short'} "),
            ((*data, "--start", tmp_path / "none.pth"), "none.pth"),
            ((*data, "--start", tmp_path / "empty.pth"), "empty.pth is empty"),
            ((*data, "--adapted", tmp_path / "short"), "short is no folder"),
            ((*data, "--like", tmp_path / "none.nii.gz"), "none.nii.gz"),
            ((*data, "--ct-statistics", "nan", "1"), "expected a finite mean"),
            ((*data, "--modality", "MR", "--ct-statistics", "1", "1"), "is for CT"),
            ((*data, "--host", "no.such.host", "--token-file", tmp_path / "token"), "give another --host"),
        ):
            status, error = call(*arguments)
            assert (status, error.count("\n")) == (1, 1), (arguments, error)
            assert said in error
    assert not (tmp_path / "scans" / ".workbench" / ".lock").exists()


def test_the_server_loads_no_network(tmp_path):
    program = "import sys; import Stage2.serving.server; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert {"fastapi", "SimpleITK"} <= loaded
    assert not loaded & {"torch", "torchvision", "mmengine", "sacred"}
