"""The launcher of tools/dist_train.sh: however a run fails, one sentence, an exit status, and no waiting."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

from Stage1.runs import distributed, launch

ROOT = Path(__file__).resolve().parents[3]

# Rank 1 ends in the way that is asked for; rank 0 waits for it.
SCRIPT = """
import os, sys, torch
from Stage1.runs import distributed
distributed.join_group("pytorch")
try:
    if distributed.rank("pytorch") == 1:
        if sys.argv[1] == "kill":
            os.kill(os.getpid(), 9)
        raise ArithmeticError("no more numbers")
    torch.distributed.all_reduce(torch.zeros(1))
except Exception as error:
    sys.exit(distributed.report_failure(error, "train.py", ".", everywhere=False, launcher="pytorch"))
"""


@pytest.fixture(scope="module")
def ended(radiographs, tmp_path_factory):
    """Status and error lines of failing runs, by what is wrong with them; all are started at once."""
    folder = tmp_path_factory.mktemp("runs")
    script = folder / "script.py"
    script.write_text(SCRIPT)
    taken = socket.create_server(("127.0.0.1", 0))
    port = str(taken.getsockname()[1])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        silent = {"NNODES": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    light = [sys.executable, "-P", "-m", "Stage1.runs.launch"]
    config = "configs/selfsup/densecl/densecl_demo.py"
    settings = ["--cfg-options", f"data_root={radiographs}", "batch_size=2", "queue_length=18"]
    runs = {
        "killed": ([*light, "2", script, "kill"], {}),
        "raised": ([*light, "2", script, "raise"], {}),
        "port": ([*light, "2", script, "wait"], {"PORT": port}),
        "no machine 1": ([*light, "1", script, "wait"], silent | {"NODE_RANK": "0", "JOIN_TIMEOUT": "1"}),
        "no machine 0": ([*light, "1", script, "wait"], silent | {"NODE_RANK": "1", "JOIN_TIMEOUT": "1", "PORT": "1"}),
        "queue": (["bash", "tools/dist_train.sh", config, "2", "--work_dir", str(folder / "run"), *settings], {}),
    }
    started = {}
    for name, (command, variables) in runs.items():
        environment = os.environ | {"OMP_NUM_THREADS": "1", "TORCH_CPP_LOG_LEVEL": "FATAL"} | variables
        started[name] = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)
    ends = {}
    for name, run in started.items():
        said = run.communicate(timeout=100)[1].splitlines()
        # C++'s own word where a rank that lost another ends while gloo's threads are at work
        ends[name] = ([line for line in said if line != "terminate called without an active exception"], run.returncode)
    taken.close()
    assert not (folder / "run").exists()
    return ends


ONE_LINE = {
    "killed": r"rank 1 was killed \(SIGKILL\), all ranks of this machine were stopped; .* --auto-resume$",
    "port": r"found port \d+ of this machine in use, expected a free one; set PORT to another \(on all machines\)$",
    "no machine 1": r"found fewer processes than expected at 127\.0\.0\.1:\d+ within 1 seconds \(JOIN_TIMEOUT\); start",
    "no machine 0": r"found no answer from 127\.0\.0\.1:1 within 1 seconds \(JOIN_TIMEOUT\)",
    "queue": r"rank \d: found a queue of 18 keys and 4 images per step over all processes",
}


@pytest.mark.parametrize("name", ONE_LINE)
def test_a_failure_is_one_line(ended, name):
    lines, status = ended[name]
    assert status == 1
    assert len(lines) == 1, lines
    assert re.match("dist_train.sh: error: " + ONE_LINE[name], lines[0]), lines


def test_a_rank_that_raises_shows_its_traceback_once(ended):
    lines, status = ended["raised"]
    assert status == 1
    assert sum("Traceback" in line for line in lines) == 1
    assert sum("ArithmeticError: no more numbers" in line for line in lines) == 1
    assert lines[-1].startswith("dist_train.sh: error: rank 1 failed as shown above, all ranks of this machine were")


def test_an_interrupted_launcher_stops_its_ranks(tmp_path):
    (tmp_path / "sleep.py").write_text(
        "import os, pathlib, sys, time\n(pathlib.Path(sys.argv[1]) / os.environ['RANK']).write_text(str(os.getpid()))\n"
        "time.sleep(60)"
    )
    command = [sys.executable, "-P", "-m", "Stage1.runs.launch", "2", str(tmp_path / "sleep.py"), str(tmp_path)]
    run = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    marks = [tmp_path / "0", tmp_path / "1"]
    deadline = time.monotonic() + 40
    while not all(mark.exists() and mark.read_text() for mark in marks):
        assert time.monotonic() < deadline and run.poll() is None
        time.sleep(0.1)
    run.terminate()
    _, errors = run.communicate(timeout=40)
    assert run.returncode == 128 + signal.SIGTERM
    assert errors == "dist_train.sh: error: stopped by SIGTERM, and all ranks with it\n"
    for mark in marks:
        with pytest.raises(ProcessLookupError):
            os.kill(int(mark.read_text()), 0)


MISTAKES = {
    "found NNODES='two'": {"NNODES": "two"},
    "found PORT='x'": {"PORT": "x"},
    "found NNODES=2 but no NODE_RANK": {"NNODES": "2"},
    "found NNODES=2 but no MASTER_ADDR": {"NNODES": "2", "NODE_RANK": "0"},
    "found NODE_RANK 2, expected 0 to 1": {"NNODES": "2", "NODE_RANK": "2", "MASTER_ADDR": "localhost"},
    "a name that this machine cannot resolve": {"NNODES": "2", "NODE_RANK": "0", "MASTER_ADDR": "no.such.invalid"},
}


@pytest.mark.parametrize("complaint", MISTAKES)
def test_mistakes_in_the_variables_are_named(complaint):
    with pytest.raises(ValueError, match=complaint.replace(".", r"\.")):
        launch.rendezvous(MISTAKES[complaint])


def test_ports_are_taken_from_either_variable():
    assert launch.rendezvous({"PORT": "5", "MASTER_PORT": "6"})["rdzv_endpoint"] == "127.0.0.1:5"
    assert launch.rendezvous({"MASTER_PORT": "6"})["rdzv_endpoint"] == "127.0.0.1:6"
    several = {"NNODES": "2", "NODE_RANK": "1", "MASTER_ADDR": "127.0.0.1"}
    assert launch.rendezvous(several)["rdzv_endpoint"] == "127.0.0.1:29500"
    assert launch.rendezvous({})["rdzv_endpoint"] != launch.rendezvous({})["rdzv_endpoint"]


def test_more_processes_than_gpus_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    distributed.check_gpus(2)
    with pytest.raises(ValueError, match=r"found 2 GPUs for 3 processes on this machine, expected one for each"):
        distributed.check_gpus(3)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    distributed.check_gpus(3)


def test_a_run_without_a_launcher_is_the_first_whatever_is_in_the_environment(monkeypatch, capsys):
    for name, value in {"RANK": "1", "SLURM_PROCID": "2", "TORCHELASTIC_ERROR_FILE": "/absent/error.json"}.items():
        monkeypatch.setenv(name, value)
    assert [distributed.rank(launcher) for launcher in ("none", "pytorch", "slurm")] == [0, 1, 2]
    mistake = ValueError("found no image")
    assert distributed.report_failure(mistake, "train.py", ".", everywhere=True, launcher="none") == 1
    assert capsys.readouterr().err == "train.py: error: found no image\n"


def test_slurm_tells_torch_where_to_meet(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT", "PORT", "SLURM_STEP_NODELIST"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    job = {
        "SLURM_PROCID": "3",
        "SLURM_NTASKS": "4",
        "SLURM_LOCALID": "1",
        "SLURM_NODELIST": "n7",
        "SLURM_JOB_ID": "10012",
    }
    for name, value in job.items():
        monkeypatch.setenv(name, value)
    distributed.take_slurm_environment()
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
    assert [os.environ[name] for name in names] == ["3", "4", "1", "n7", "29512"]
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ValueError, match=r"found no answer from scontrol about the machines n\[1-2\].*set MASTER_ADDR"):
        distributed.first_host("n[1-2]")


@pytest.mark.parametrize("status", [distributed.LOST_ANOTHER, -signal.SIGABRT])
def test_the_rank_that_failed_is_named_not_one_that_lost_it(status):
    statuses = {0: status, 1: -signal.SIGKILL}
    failures = {rank: ProcessFailure(rank, 1000 + rank, own, "none") for rank, own in statuses.items()}
    failures[0].timestamp = failures[1].timestamp - 1
    assert launch.describe(ChildFailedError("run", failures)).startswith("rank 1 was killed (SIGKILL), all ranks")
