"""Training and fine-tuning on supervoxels through the entry points: resumed bit for bit, told apart, refused."""

import shutil

import pytest
import torch

from Stage2 import finetuning, training
from Stage2.datasets.supervoxels import MIN_PAIR_AREA
from Stage2.models.registry import HEADS
from Stage2.run_folders.layout import STATE_FILE, list_runs, list_snapshots

COMMAND = "python tools/prepare_data.py supervoxels"


@pytest.fixture
def run(cohort_folder, tmp_path, toy):
    def run(experiment, prefix, **changes):
        path = {"data_dir": str(cohort_folder), "log_dir": str(tmp_path)} | changes.pop("path", {})
        settings = {"modelname": toy, "num_workers": 0, "device": "cpu", "episodes": "supervoxel", "exp_prefix": prefix}
        experiment.run(config_updates=settings | {"path": path} | changes)
        return list_runs(tmp_path / f"mySSL_{prefix}_CHAOST2_Superpix_sets_0_1shot")[-1]

    return run


@pytest.fixture
def refuse(run, capsys):
    """A run that ends with one sentence, which is returned."""

    def refuse(*arguments, **changes):
        with pytest.raises(SystemExit) as ended:
            run(training.experiment, *arguments, **changes)
        assert ended.value.code == 1
        return capsys.readouterr().err.strip().splitlines()[-1]

    return refuse


def weights(run_folder):
    return torch.load(list_snapshots(run_folder)[-1][1], weights_only=True)


def equal(first, second) -> bool:
    return all(torch.equal(value, second[key]) for key, value in first.items())


def test_a_resumed_training_ends_as_an_uninterrupted_one(run, refuse):
    whole = weights(run(training.experiment, "whole", n_steps=4))
    first = run(training.experiment, "parts", n_steps=2)
    told = refuse("parts", n_steps=4, resume=True, episodes="superpixel")
    assert "belongs to another experiment (episodes='supervoxel' there, 'default' here)" in told
    assert "episodes" in torch.load(first / STATE_FILE, weights_only=True)["identity"]
    assert equal(whole, weights(run(training.experiment, "parts", n_steps=4, resume=True)))
    assert not equal(whole, weights(run(training.experiment, "superpixels", n_steps=4, episodes="superpixel")))


@pytest.mark.parametrize("head", HEADS)
def test_every_head_trains_and_fine_tunes(run, head):
    trained = run(training.experiment, "train", n_steps=1, clsname=head, num_workers=1)
    start = str(list_snapshots(trained)[-1][1])
    tuned = run(finetuning.experiment, "ft", n_steps=3, clsname=head, reload_model_path=start)
    assert not equal(weights(trained), weights(tuned))


def test_a_folder_without_supervoxels_is_refused(refuse, cohort_folder, tmp_path):
    bare = shutil.copytree(cohort_folder, tmp_path / "bare", ignore=shutil.ignore_patterns("supervox*", "cache"))
    told = refuse("bare", path={"data_dir": str(bare)})
    assert f"supervox-MIDDLE_5.nii.gz is missing; make the supervoxels with: {COMMAND} {bare}" in told


def test_unknown_episodes_are_refused(refuse):
    told = refuse("unknown", episodes="voxel")
    assert told == "error: episodes=voxel is unknown; choose one of superpixel, supervoxel."


def test_slices_that_are_left_out_may_leave_no_pair(refuse):
    told = refuse("excluded", exclude_cls_list=[1, 2, 3, 4])
    assert f"in two successive slices that are not excluded, with {MIN_PAIR_AREA} pixels in one" in told
