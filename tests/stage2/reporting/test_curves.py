"""Curves of both stages hold what their files say."""

import json
from pathlib import Path

from Stage2.reporting.curves import read_stage1_losses, stage2_kinds, stage2_losses


def test_losses_of_a_resumed_stage1(tmp_path: Path):
    lines = [
        {"loss": 4.0, "loss_contra_dense": 3.0, "lr": 0.1, "step": 10},
        {"loss": 2.0, "loss_contra_dense": 1.0, "step": 20},
    ]
    for stamp, factor in (("20260101_000000", 9), ("20260102_000000", 1)):
        file = tmp_path / stamp / "vis_data" / "scalars.json"
        file.parent.mkdir(parents=True)
        file.write_text("\n".join(json.dumps(line | {"loss": line["loss"] * factor}) for line in lines) + '\n{"loss"')
    assert read_stage1_losses(tmp_path) == {"total": ([10, 20], [4.0, 2.0]), "dense": ([10, 20], [3.0, 1.0])}
    resumed = tmp_path / "20260103_000000" / "vis_data" / "scalars.json"
    resumed.parent.mkdir(parents=True)
    resumed.write_text('{"step": 20, "loss": 1.5}\n{"step": 30, "loss": 1.0}\n')
    assert read_stage1_losses(tmp_path) == {"total": ([10, 20, 30], [4.0, 1.5, 1.0]), "dense": ([10], [3.0])}


def test_curves_of_stage2():
    curve = ([1, 2], [0.5, 0.25])
    scalars = {"query_loss": curve, "lr": curve, "train_scans_dice": curve}
    assert stage2_losses(scalars) == {"query": curve}
    assert stage2_kinds(scalars) == {
        "query loss": {"query_loss": curve},
        "Dice of training classes in training scans": {"train_scans_dice": curve},
    }
