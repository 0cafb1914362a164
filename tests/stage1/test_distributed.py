"""Two gloo processes: gathered keys, shuffled batches, equal queues, and a run through the launch script."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch

from Stage1.checkpoints import read_checkpoint
from Stage1.models.shuffle import gather_ranks, shuffle_ranks, unshuffle_ranks

ROOT = Path(__file__).resolve().parents[2]

TWO_RANKS = """
    import sys, torch
    import torch.nn.functional as F
    from mmengine import dist
    from Stage1.distributed import start_cpu_group
    from Stage1.models import DenseCL
    from Stage1.models.shuffle import gather_ranks, shuffle_ranks, unshuffle_ranks

    start_cpu_group("pytorch")
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
    report |= {"queue": model.queue, "queue2": model.queue2, "pointer": model.queue_ptr, "keys": keys, "pooled": pooled}
    torch.save(report, f"{sys.argv[1]}/rank_{rank}.pth")
"""


def launch(*command, cwd=None):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=240)


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    (folder / "script.py").write_text(textwrap.dedent(TWO_RANKS))
    torchrun = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
    done = launch(*torchrun, str(folder / "script.py"), str(folder))
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


def test_one_process_needs_no_group():
    rows = torch.arange(6.0).view(3, 2)
    shuffled, order = shuffle_ranks(rows)
    assert order is None
    assert torch.equal(shuffled, rows)
    assert torch.equal(unshuffle_ranks(rows, order), rows)
    assert torch.equal(gather_ranks(rows), rows)


def test_dist_train_runs_in_two_processes(radiographs, tmp_path):
    settings = f"data_root={radiographs} batch_size=4 image_size=32 queue_length=16 num_workers=0 max_epochs=1"
    done = launch(
        "bash",
        "tools/dist_train.sh",
        "configs/selfsup/densecl/densecl_demo.py",
        "2",
        "--work_dir",
        str(tmp_path),
        "--cfg-options",
        *settings.split(),
        cwd=ROOT / "Stage1",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    checkpoint = read_checkpoint(tmp_path / "epoch_1.pth")
    assert checkpoint["meta"]["iter"] == 1  # 12 images, 8 per step
    assert checkpoint["state_dict"]["queue_ptr"].item() == 8
    assert checkpoint["state_dict"]["queue2_ptr"].item() == 8
