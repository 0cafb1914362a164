"""How runs end where something is wrong outside them: one line, status 1, no process and no half-written file left."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from stage2.runs.starting import ROOT, largest_file, start

from Stage1.files import locked
from Stage2 import training
from Stage2.run_folders.layout import list_runs

HOLDER = """
import sys, time
from Stage1.files import locked
with locked(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""
LIMIT = 20_000_000  # bytes, fewer than a snapshot of ResNet-18 has
LIMITED = f"""
import resource
from Stage2.training import experiment
resource.setrlimit(resource.RLIMIT_FSIZE, ({LIMIT}, {LIMIT}))
experiment.run_commandline()
"""
TOO_LARGE = "snapshots/1.pth could not be written (File too large); make room"


def test_a_run_that_is_still_at_work_is_not_resumed(settings, capfd):
    training.experiment.run(config_updates={**settings, "exp_prefix": "live"})
    (live,) = list_runs(Path(settings["path"]["log_dir"]) / "mySSL_live_CHAOST2_Superpix_sets_0_1shot")
    assert not list(live.glob("**/.*"))
    partial = live / "snapshots" / ".9.1.partial.pth"
    partial.touch()
    other = subprocess.Popen(
        [sys.executable, "-c", HOLDER, live], env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE
    )
    other.stdout.readline()
    with pytest.raises(SystemExit):
        training.experiment.run(config_updates={**settings, "exp_prefix": "live", "resume": True})
    assert f"error: process {other.pid} on " in capfd.readouterr().err.splitlines()[-1]
    assert partial.exists(), "what the other one writes is left alone"
    other.kill()
    other.communicate()
    training.experiment.run(config_updates={**settings, "exp_prefix": "live", "resume": True})
    assert not list(live.glob("**/.*")), "what a killed run has left goes with the next one"
    with locked(live):
        pass


def test_a_file_that_grows_too_large_ends_the_run(settings, capfd):
    with largest_file(LIMIT), pytest.raises(SystemExit) as end:
        training.experiment.run(config_updates={**settings, "exp_prefix": "limited", "modelname": "dlfcn_res18"})
    last = capfd.readouterr().err.splitlines()[-1]
    assert end.value.code == 1
    assert last.startswith("error: ") and TOO_LARGE in last


def test_a_file_that_grows_too_large_ends_the_run_and_its_workers(settings):
    process = start(settings, "limited", LIMITED, modelname="dlfcn_res18", num_workers=2)
    last = process.communicate(timeout=300)[1].splitlines()[-1]
    assert process.returncode == 1
    assert last.startswith("error: ") and TOO_LARGE in last
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)  # no process of its group is left


def test_a_log_folder_that_cannot_be_made_is_one_line(settings, tmp_path, capfd):
    (tmp_path / "file").touch()
    path = settings["path"] | {"log_dir": str(tmp_path / "file")}
    with pytest.raises(SystemExit):
        training.experiment.run(config_updates={**settings, "path": path})
    said = capfd.readouterr().err
    assert "Traceback" not in said
    assert said.splitlines()[-1].startswith(f"error: {tmp_path / 'file'}")
