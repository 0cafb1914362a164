"""What a run that goes on must agree in with the run before it."""

from types import SimpleNamespace

import pytest

from Stage2.runs.recording import NEWER, identity_of
from Stage2.runs.settings import RunSettings


def identity(entry: str = "finetuning", snapshot: str | None = "exps/train/1/snapshots/5.pth", **settings) -> dict:
    run = SimpleNamespace(experiment_info={"name": entry}, info={"snapshot": snapshot})
    return identity_of(RunSettings(**settings), run)


@pytest.mark.parametrize(
    "change",
    [
        {"entry": "training"}, {"snapshot": None}, {"snapshot": "exps/train/1/snapshots/9.pth"},
        {"snapshot": "exps/train/2/snapshots/5.pth"}, {"pretrained_backbone": "other.pth"}, {"use_coco_init": True},
        {"use_densecl_init": True}, {"support_idx": [0]}, {"n_sup_part": 1}, {"min_fg_data": 100},
    ],
    ids=str,
)  # fmt: skip
def test_another_beginning_or_supervision_is_another_experiment(change):
    assert identity(**change) != identity()


def test_files_may_have_moved_and_a_training_has_no_supports():
    weights = {"pretrained_backbone": "weights/b.pth"}
    moved = identity(snapshot="/new/exps/train/1/snapshots/5.pth", pretrained_backbone="/elsewhere/b.pth")
    assert moved == identity(snapshot="/old/exps/train/1/snapshots/5.pth", **weights)
    assert identity("training", support_idx=[0], n_sup_part=1) == identity("training")
    assert set(NEWER) <= set(moved)
