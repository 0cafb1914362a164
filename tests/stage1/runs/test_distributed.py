"""Two gloo processes: gathered keys, shuffled batches, equal queues, and runs by every way of starting them."""

import inspect
import os
import re
import shutil
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from stage1.comparison import assert_same_run

from Stage1.models.densecl import DenseCL
from Stage1.models.shuffle import gather_ranks, shuffle_ranks, unshuffle_ranks
from Stage1.weights.checkpoints import read_checkpoint

ROOT = Path(__file__).resolve().parents[3]
DEMO = "configs/selfsup/densecl/densecl_demo.py"
THREADS = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

# Both ranks are made of one process, which has imported the libraries once.
TWO_RANKS = """
    import os, sys, torch
    import torch.nn.functional as F
    from mmengine import dist
    from Stage1.processes import end_at_once
    from Stage1.runs.distributed import join_group, leave_group
    from Stage1.models.densecl import DenseCL
    from Stage1.models.shuffle import gather_ranks, shuffle_ranks, unshuffle_ranks

    other = os.fork()
    rank = "1" if other == 0 else "0"
    os.environ |= {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    join_group("pytorch")
    rank = dist.get_rank()
    torch.manual_seed(rank)  # ranks need not share a random state
    own = torch.arange(4) + 10 * rank
    shuffled, order = shuffle_ranks(own)
    report = {
        "gathered": gather_ranks(own),
        "order": order,
        "shuffled": shuffled,
        "restored": unshuffle_ranks(shuffled * 2, order),
    }

    torch.manual_seed(0)
    model = DenseCL(depth=18, queue_length=16).eval()  # without batch statistics, keys do not depend on the shuffle
    views = torch.randn(2, 4, 2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        model(views[rank], mode="loss")
        _, keys, _, pooled = model.encode(model.encoder_k, views[:, :, 1].flatten(0, 1))
    report |= {name: getattr(model, name).clone() for name in ("queue", "queue2")}
    report |= {"pointer": model.queue_ptr.clone(), "keys": keys, "pooled": pooled}
    *_, dealt = model.encode_keys(views[rank, :, 1])  # the key encoder equals the query encoder, so it stays
    report |= {"own": pooled[4 * rank : 4 * rank + 4], "dealt": dealt}

    two_steps(torch.nn.parallel.DistributedDataParallel(model, forward_sync_buffers=False), model, views[rank])
    report |= {f"later_{name}": getattr(model, name) for name in ("queue", "queue2")}
    torch.save(report, f"{sys.argv[1]}/rank_{rank}.pth")
    leave_group()
    end_at_once(os.waitstatus_to_exitcode(os.waitpid(other, 0)[1]) if other else 0)
"""


def two_steps(wrapped, model, views):
    """Two optimiser steps on the same pairs of views, with a key encoder that moves fast."""
    model.momentum = 0.5
    optimiser = torch.optim.SGD(model.encoder_q.parameters(), lr=0.05)
    for _ in range(2):
        losses = wrapped(views, mode="loss")
        optimiser.zero_grad()
        sum(value for name, value in losses.items() if name.startswith("loss")).backward()
        optimiser.step()


def free_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


def launch(*command, cwd=None, **variables):
    return subprocess.run(
        command, cwd=cwd, env=os.environ | THREADS | variables, capture_output=True, text=True, timeout=240
    )


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    (folder / "script.py").write_text(inspect.getsource(two_steps) + textwrap.dedent(TWO_RANKS))
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    done = launch(sys.executable, str(folder / "script.py"), str(folder), **place)
    assert done.returncode == 0, done.stderr
    return [torch.load(folder / f"rank_{rank}.pth", weights_only=True) for rank in range(2)]


def test_every_rank_gathers_the_same_rows_in_rank_order(reports):
    for report in reports:
        assert report["gathered"].tolist() == [0, 1, 2, 3, 10, 11, 12, 13]


def test_shuffling_deals_out_all_images_once_and_is_undone(reports):
    first, second = reports
    assert torch.equal(first["order"], second["order"])
    dealt = first["shuffled"].tolist() + second["shuffled"].tolist()
    assert sorted(dealt) == [0, 1, 2, 3, 10, 11, 12, 13]
    assert dealt != sorted(dealt)
    assert first["restored"].tolist() == [0, 2, 4, 6]
    assert second["restored"].tolist() == [20, 22, 24, 26]


def test_both_ranks_hold_the_same_queues_with_keys_in_rank_order(reports):
    first, second = reports
    for queue, keys in (("queue", "keys"), ("queue2", "pooled")):
        assert torch.equal(first[queue], second[queue])
        torch.testing.assert_close(first[queue][:, :8].T, first[keys])
    assert first["pointer"].item() == second["pointer"].item() == 8


def test_keys_come_back_to_the_process_that_has_their_images(reports):
    for report in reports:
        torch.testing.assert_close(report["dealt"], report["own"])
    assert not torch.allclose(reports[0]["own"], reports[1]["own"])


def test_two_processes_fill_the_queues_as_one_with_the_whole_batch(reports):
    torch.manual_seed(0)
    model = DenseCL(depth=18, queue_length=16).eval()
    views = torch.randn(2, 4, 2, 3, 32, 32, generator=torch.Generator().manual_seed(1)).flatten(0, 1)
    with torch.no_grad():
        model(views, mode="loss")
    for name in ("queue", "queue2"):
        torch.testing.assert_close(getattr(model, name), reports[0][name])
    two_steps(model, model, views)
    for name in ("queue", "queue2"):
        torch.testing.assert_close(getattr(model, name), reports[0][f"later_{name}"], atol=1e-4, rtol=1e-3)
        assert torch.equal(reports[0][f"later_{name}"], reports[1][f"later_{name}"])
        assert not torch.allclose(reports[0][f"later_{name}"], reports[0][name], atol=1e-3)


def test_one_process_needs_no_group():
    rows = torch.arange(6.0).view(3, 2)
    shuffled, order = shuffle_ranks(rows)
    assert order is None
    assert torch.equal(shuffled, rows)
    assert torch.equal(unshuffle_ranks(rows, order), rows)
    assert torch.equal(gather_ranks(rows), rows)


@pytest.fixture(scope="module")
def command(radiographs):
    """What follows the name of a launch script's config: the options of a tiny run in a folder."""

    def options(work_dir, *more):
        settings = f"data_root={radiographs} batch_size=2 image_size=32 queue_length=16 num_workers=0 max_epochs=2"
        return ["--work_dir", str(work_dir), *more, "--cfg-options", *settings.split(), "checkpoint_interval=1"]

    return options


@pytest.fixture(scope="module")
def two_processes(command, tmp_path_factory):
    """Folder of an uninterrupted run of tools/dist_train.sh with two processes."""
    work_dir = tmp_path_factory.mktemp("two")
    done = launch("bash", "tools/dist_train.sh", DEMO, "2", *command(work_dir), cwd=ROOT / "Stage1")
    assert done.returncode == 0, done.stdout + done.stderr
    return work_dir


def test_dist_train_runs_in_two_processes(two_processes):
    checkpoint = read_checkpoint(two_processes / "epoch_1.pth")
    assert checkpoint["meta"]["iter"] == 3  # 12 images, 4 per step
    assert checkpoint["state_dict"]["queue_ptr"].item() == 12
    assert checkpoint["state_dict"]["queue2_ptr"].item() == 12


def test_two_processes_that_diverge_stop_with_one_line(command, tmp_path):
    done = launch("bash", "tools/dist_train.sh", DEMO, "2", *command(tmp_path), "lr=1e30", cwd=ROOT)
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if "error" in line]
    assert re.search(r"rank [01]: found loss_contra_(single|dense) nan at step 2 \(epoch 1\), .*lower lr", line)
    assert not list(tmp_path.rglob("*.pth"))


def test_two_machines_resume_a_run_of_two_processes_as_if_it_had_not_been_interrupted(two_processes, command, tmp_path):
    shutil.copy(two_processes / "epoch_1.pth", tmp_path)
    port, machines = free_port(), []
    for node in ("0", "1"):
        place = {"NNODES": "2", "NODE_RANK": node, "MASTER_ADDR": "127.0.0.1", "PORT": port, "JOIN_TIMEOUT": "90"}
        arguments = ["bash", ROOT / "tools/dist_train.sh", DEMO, "1", *command(tmp_path, "--auto-resume")]
        machines.append(
            subprocess.Popen(arguments, cwd=ROOT, env=os.environ | THREADS | place, stderr=subprocess.PIPE, text=True)
        )
    for machine in machines:
        _, errors = machine.communicate(timeout=120)
        assert machine.returncode == 0, errors
    assert_same_run(read_checkpoint(two_processes / "epoch_2.pth"), read_checkpoint(tmp_path / "epoch_2.pth"))


FAKE_SRUN = """#!/usr/bin/env bash
printf '%s\\n' "$@" >"$RECORD"
[ -n "${RUN_TASKS:-}" ] || exit 0
while [[ "$1" == -* ]]; do
    if [ "$1" = -p ]; then shift; fi
    shift
done
export SLURM_NTASKS=2 SLURM_NODELIST="node[0-1]" SLURM_JOB_ID="$RANDOM"
SLURM_PROCID=1 SLURM_LOCALID=1 "$@" &
SLURM_PROCID=0 SLURM_LOCALID=0 "$@"
wait $!
"""


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    """Calls tools/srun_train.sh where srun and scontrol are stand-ins; returns what it did and srun's arguments."""
    folder = tmp_path_factory.mktemp("slurm")
    commands = {"srun": FAKE_SRUN, "scontrol": "#!/usr/bin/env bash\nprintf '127.0.0.1\\nnode1\\n'\n"}
    for name, text in commands.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)

    def call(*arguments, **variables):
        record = folder / "arguments"
        record.unlink(missing_ok=True)
        path = {"PATH": f"{folder}:{os.environ['PATH']}", "RECORD": str(record)}
        done = launch("bash", "tools/srun_train.sh", *arguments, cwd=ROOT / "Stage1", **path, **variables)
        return done, record.read_text().splitlines() if record.exists() else []

    return call


def test_srun_train_runs_two_slurm_tasks(two_processes, command, slurm, tmp_path):
    done, _ = slurm("gpu", "name", DEMO, "2", *command(tmp_path), RUN_TASKS="1", GPUS_PER_NODE="0")
    assert done.returncode == 0, done.stdout + done.stderr
    assert_same_run(read_checkpoint(two_processes / "epoch_2.pth"), read_checkpoint(tmp_path / "epoch_2.pth"))


def test_srun_train_asks_slurm_for_what_it_is_told(slurm):
    done, asked = slurm(
        "gpu", "my name", DEMO, "16", "--seed", "1", CPUS_PER_TASK="3", SRUN_ARGS="--qos=long --exclusive"
    )
    assert done.returncode == 0, done.stderr
    script = asked.index(str(ROOT / "tools/train.py"))
    assert asked[: script - 2] == [
        "-p", "gpu", "--job-name=my name", "--ntasks=16", "--cpus-per-task=3", "--kill-on-bad-exit=1",
        "--gres=gpu:8", "--ntasks-per-node=8", "--qos=long", "--exclusive",
    ]  # fmt: skip
    assert asked[script + 1 :] == [DEMO, "--launcher", "slurm", "--seed", "1"]
    _, asked = slurm("gpu", "name", DEMO, "--auto-resume", GPUS="2")
    assert {"--ntasks=2", "--gres=gpu:2", "--ntasks-per-node=2", "--auto-resume"} <= set(asked)
    _, asked = slurm("cpu", "name", DEMO, "4", GPUS_PER_NODE="0")
    assert not any(argument.startswith(("--gres", "--ntasks-per")) for argument in asked)


@pytest.mark.parametrize(
    ("gpus", "variables", "complaint"),
    [
        ("two", {}, "found GPUS 'two'"),
        ("12", {}, "found GPUS 12, expected a multiple of GPUS_PER_NODE 8"),
        ("2", {"GPUS_PER_NODE": "x"}, "found GPUS_PER_NODE 'x'"),
        ("2", {"CPUS_PER_TASK": "0"}, "found CPUS_PER_TASK '0'"),
    ],
)
def test_srun_train_refuses_wrong_numbers_in_one_line(slurm, gpus, variables, complaint):
    done, asked = slurm("gpu", "name", DEMO, gpus, **variables)
    assert (done.returncode, asked) == (2, [])
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"srun_train.sh: error: {complaint}")
