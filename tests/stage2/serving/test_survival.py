"""A real server, killed with -9 in the middle of an adaptation: all is there again, and its masks are the commands'."""

import json
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from stage2.serving.served import TOKEN, fill, until

from Stage2.adaptation.settings import AdaptationSettings
from Stage2.inference.adapt_job import AdaptJob, AdaptRequest
from Stage2.inference.job import PredictionJob
from Stage2.inference.request import Request

ROOT = Path(__file__).resolve().parents[3]
STEPS = 4


@contextmanager
def server(folder: Path, errors: Path) -> Iterator[tuple[subprocess.Popen, str]]:
    """The process of `tools/serve.py` and its address."""
    (folder.parent / "token").write_text(TOKEN)
    command = [sys.executable, str(ROOT / "tools" / "serve.py"), "--data", str(folder), "--modality", "MR"]
    command += ["--steps", str(STEPS), "--token-file", str(folder.parent / "token")]
    with (
        errors.open("ab") as log,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, cwd=folder) as process,
    ):
        try:
            said = process.stdout.readline()
            assert said.startswith("open http://127.0.0.1:"), errors.read_text()
            yield process, said.split()[1].partition("/?")[0]
        finally:
            process.terminate()
            process.wait(30)


def ask(address: str, path: str, body: bytes | None = None, method: str = "GET") -> dict:
    request = urllib.request.Request(address + path, body, {"authorization": f"Bearer {TOKEN}"}, method=method)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read())


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = fill(tmp_path_factory.mktemp("survival") / "scans")
    (folder / "c.nii.gz").unlink()
    return folder


def test_a_killed_server_loses_nothing_and_its_masks_are_those_of_the_commands(folder, tmp_path):
    errors, workbench = tmp_path / "errors", folder / ".workbench"
    with server(folder, errors) as (process, address):
        ask(address, "/api/scans/a/drawing", (folder.parent / "mask.nii.gz").read_bytes(), "PUT")
        ask(address, "/api/scans/a/example", b'{"example": true}', "PUT")
        job = ask(address, "/api/jobs", b'{"kind": "segment"}', "POST")

        def adapting() -> bool:
            own = ask(address, "/api/state")["job"]
            assert own["state"] == "running", (own, errors.read_text())
            return own["stage"] == "adapting" and own["share"] > 0

        until(adapting, 240, pause=0.2)
        before = ask(address, "/api/state")["scans"]
        assert [scan["approach"] for scan in before] == [None, "prototypes"]  # at once, before the network
        process.send_signal(signal.SIGKILL)
        process.wait()
    until(lambda: list((workbench / "networks").glob(".*.state.pth")))  # what was learned is kept

    with server(folder, errors) as (process, address):
        content = ask(address, "/api/state")
        assert content["scans"] == before
        assert content["job"]["id"] == job["id"]
        until(lambda: ask(address, "/api/state")["job"]["state"] == "done", 240, pause=0.2)
        assert ask(address, "/api/state")["scans"][1]["approach"] == "adapted"
    log = (workbench / "jobs" / job["id"] / "log.txt").read_text()
    assert "going on after step" in log
    assert "Traceback" not in errors.read_text()

    adapted = tmp_path / "adapted.safetensors"
    support = (folder / "a.nii.gz", folder.parent / "mask.nii.gz")
    settings = AdaptationSettings(minutes=None, steps=STEPS)
    AdaptJob(AdaptRequest(supports=[support], out=adapted, settings=settings, modality="MR")).run()
    PredictionJob(Request(query=folder, out=tmp_path / "out", checkpoint=adapted)).run()
    assert np.unique(sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "b_mask.nii.gz")))).tolist() == [0, 2, 3]
    assert (folder / "b_mask.nii.gz").read_bytes() == (tmp_path / "out" / "b_mask.nii.gz").read_bytes()
