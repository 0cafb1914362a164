"""Curves of both stages hold what their files say."""

import json
from pathlib import Path

import pytest

from Stage2.reporting.curves import STAGE2_KINDS, STAGE2_LOSSES, read_curves, read_stage1_losses


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


def test_curves_of_stage2(tmp_path: Path):
    scalars = {name: {"steps": [1, 2], "values": [0.5, 0.25]} for name in ("query_loss", "lr", "train_scans_dice")}
    (tmp_path / "metrics.json").write_text(json.dumps(scalars))
    curve = ([1, 2], [0.5, 0.25])
    assert read_curves(tmp_path, STAGE2_LOSSES) == {"query": curve}
    assert read_curves(tmp_path, STAGE2_KINDS) == {
        "query loss": curve, "Dice of training classes in training scans": curve
    }  # fmt: skip


@pytest.mark.parametrize("values", [[0.5], ["a", "b"], [0.5, [1]], "ab", [True, 1]])
def test_a_damaged_curve_is_one_sentence(tmp_path: Path, values):
    (tmp_path / "metrics.json").write_text(json.dumps({"query_loss": {"steps": [1, 2], "values": values}}))
    with pytest.raises(ValueError, match="damaged curve of the query in its scalars"):
        read_curves(tmp_path, STAGE2_LOSSES)
