"""The task of a fold under submitit's own executors, and options of sbatch."""

import os
import signal
from pathlib import Path

import pytest
from examples.driving import make_repository, wait_for
from submitit import DebugExecutor, LocalExecutor

from Stage2.launching.graph import build_graph
from Stage2.launching.plan import ExperimentLaunch
from Stage2.launching.slurm import FoldTask, sbatch_options


def make_task(repository, fold: int) -> FoldTask:
    settings = ["dataset=CHAOST2_Superpix", "label_sets=0", f"path.log_dir={repository / 'exps'}", "support_idx=[4]"]
    train = ExperimentLaunch("train", [*settings, "n_steps=10", "save_snapshot_every=5"], repository / "logs")
    test = ExperimentLaunch("test", settings, repository / "logs")
    return FoldTask(build_graph([(train, [fold]), (test, [fold])]), repository)


def test_a_task_that_is_told_to_end_keeps_its_state_and_goes_on_when_it_is_back(tmp_path):
    repository = make_repository(tmp_path)
    (repository / "wishes.json").write_text('{"after": {"0": "stopped 0"}}')
    executor = LocalExecutor(tmp_path / "jobs")
    executor.update_parameters(timeout_min=5)
    job, calls = executor.submit(make_task(repository, 0)), repository / "calls.log"
    assert wait_for(calls.exists)
    (process,) = Path(f"/proc/{job.job_id}/task/{job.job_id}/children").read_text().split()
    os.kill(int(process), signal.SIGUSR2)  # as Slurm does before a time limit, and where a more important job comes
    assert job.result() is None
    assert calls.read_text().replace(" gpu=", "").splitlines() == [
        "begin 0 resume=None", "stopped 0", "begin 0 resume=True", "end 0", "begin 0 resume=None", "end 0",
    ]  # fmt: skip


def test_a_task_runs_in_this_process_as_well(tmp_path):
    repository = make_repository(tmp_path)
    DebugExecutor(tmp_path / "jobs").submit(make_task(repository, 2)).result()
    assert (repository / "calls.log").read_text().count("end 2") == 2


def test_options_of_sbatch_are_read_as_a_shell_reads_them():
    assert sbatch_options("") == {}
    text = "--time=1:00:00 --comment 'two words' --exclusive --mail-user=a@b.c"
    found = {"time": "1:00:00", "comment": "two words", "exclusive": True, "mail-user": "a@b.c"}
    assert sbatch_options(text) == found
    for wrong in ("-p gpu", "gpu", "--time=1 2", "--partition gpu cpu"):
        with pytest.raises(ValueError, match="write options out"):
            sbatch_options(wrong)
