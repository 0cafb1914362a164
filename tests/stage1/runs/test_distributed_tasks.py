"""Two gloo processes, started once, for SimCLR and a masked task: they learn as one process, and train whole runs."""

import inspect
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from stage1.conftest import TINY_TASKS, demo_of

from Stage1.models.simclr import SimCLR
from Stage1.models.simmim import SimMIM
from Stage1.weights.checkpoints import read_checkpoint

ROOT = Path(__file__).resolve().parents[3]
TASKS = ("simclr", "simmim")

TWO_RANKS = """
    import sys, torch
    from mmengine import dist
    from Stage1.models.simclr import SimCLR
    from Stage1.models.simmim import SimMIM
    from Stage1.processes import end_at_once
    from Stage1.runs import training
    from Stage1.runs.distributed import join_group, leave_group
    sys.path.insert(0, "tools")
    import train

    folder, *options = sys.argv[1:]
    join_group("pytorch")
    rank = dist.get_rank()
    report = {}
    for task in ("simclr", "simmim"):
        model = small_model(task)
        wrapped = torch.nn.parallel.DistributedDataParallel(model, forward_sync_buffers=False)
        images, seeds = batch(task)
        own = slice(2 * rank, 2 * rank + 2)
        report[task] = step(wrapped, model, images[own], seeds[own])
    torch.save(report, f"{folder}/rank_{rank}.pth")
    training.distributed.join_group = lambda *_, **__: None  # both runs share the group
    for task in ("simclr", "simmim"):
        own = [word.removeprefix(f"{task}:") for word in options if word.startswith(f"{task}:")]
        arguments = [own[0], "--work_dir", f"{folder}/{task}", "--launcher", "pytorch", "--cfg-options", *own[1:]]
        args = train.parse_args(arguments)
        training.build_runner(training.plan_run(args), args).train()
    leave_group()
    end_at_once(0)
"""


def small_model(task):
    """In evaluation mode, so that no batch norm depends on what a process has of the batch."""
    torch.manual_seed(0)
    model = SimCLR(depth=18, feature_channels=8) if task == "simclr" else SimMIM(8, (1, 1, 1, 1), (1, 1, 2, 2), 2)
    for parameter in model.parameters():
        if parameter.ndim == 1:
            torch.nn.init.uniform_(parameter, 0.5, 1)  # SimCLR's blocks start as nothing
    return model.eval()


def batch(task):
    generator = torch.Generator().manual_seed(1)
    side, views = (32, 2) if task == "simclr" else (64, 1)
    return torch.randn(4, views, 3, side, side, generator=generator), torch.arange(4)


def step(wrapped, model, images, seeds):
    """The loss of a step and the gradient of every weight."""
    outputs = wrapped(images, {"seed": seeds}, mode="loss")
    loss = sum(value for name, value in outputs.items() if name.startswith("loss"))
    loss.backward()
    gradients = {name: own.grad for name, own in model.named_parameters() if own.grad is not None}
    return {"loss": loss.detach(), "gradients": gradients}


@pytest.fixture(scope="module")
def two_processes(radiographs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    functions = "\n\n".join(inspect.getsource(one) for one in (small_model, batch, step))
    (folder / "script.py").write_text(f"import torch\n{functions}\n{textwrap.dedent(TWO_RANKS)}")
    options = []
    for task in TASKS:
        settings = TINY_TASKS[task] | {"data_root": radiographs, "batch_size": 2}
        options += [f"{task}:{demo_of(task)}", *(f"{task}:{key}={value}" for key, value in settings.items())]
    torchrun = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*torchrun, str(folder / "script.py"), str(folder), *options], cwd=ROOT, env=environment,
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("task", TASKS)
def test_two_processes_learn_from_the_whole_batch_as_one(two_processes, task):
    """SimCLR's negatives are those of both; the mean of the processes' losses and gradients is that of one process."""
    reports = [torch.load(two_processes / f"rank_{rank}.pth", weights_only=True)[task] for rank in range(2)]
    model = small_model(task)
    alone = step(model, model, *batch(task))
    torch.testing.assert_close(torch.stack([report["loss"] for report in reports]).mean(), alone["loss"])
    assert alone["gradients"].keys() == reports[0]["gradients"].keys()
    for name, gradient in alone["gradients"].items():
        scale = gradient.abs().max().item()
        for report in reports:
            torch.testing.assert_close(
                report["gradients"][name], gradient, rtol=1e-3, atol=1e-3 * scale + 1e-7, msg=name
            )


@pytest.mark.parametrize("task", TASKS)
def test_two_processes_train(two_processes, task):
    checkpoint = read_checkpoint(two_processes / task / "epoch_2.pth")
    assert checkpoint["meta"]["iter"] == 6  # 12 images, 4 in a step, two epochs
    if task == "simmim":
        assert len(list((two_processes / task).glob("*/vis_data/vis_image/reconstruction*"))) == 2
