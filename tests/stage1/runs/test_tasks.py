"""Whole tiny runs of the other pretext tasks: logs, pictures, resuming, starting weights, and what is refused."""

import json
import math
import shutil

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS
from stage1.comparison import assert_same_run
from stage1.conftest import TINY_TASKS, demo_of
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from Stage1.models import extras
from Stage1.models.backbone import ResNetC5
from Stage1.models.transformers import SwinBackbone, VisionTransformerBackbone
from Stage1.runs.config import load_config
from Stage1.runs.pictures import PictureHook
from Stage1.weights.checkpoints import read_checkpoint

LOSSES = {"simclr": "loss_nt_xent", "simmim": "loss_hidden_pixels", "mae": "loss_hidden_patches"}
MASKED = ("simmim", "mae")


@pytest.fixture(scope="module", params=LOSSES)
def finished(request, run_tiny, tmp_path_factory):
    """A task, and the folder of its run of two epochs, not interrupted."""
    work_dir = tmp_path_factory.mktemp(request.param)
    run_tiny(work_dir, task=request.param)
    return request.param, work_dir


def events_of(work_dir):
    (scalars,) = work_dir.glob("*/vis_data/scalars.json")
    return EventAccumulator(str(scalars.parent), size_guidance={"images": 0}).Reload(), scalars


def test_logs(finished):
    task, work_dir = finished
    assert sorted(path.name for path in work_dir.glob("*.pth")) == ["epoch_1.pth", "epoch_2.pth"]
    events, scalars = events_of(work_dir)
    lines = [json.loads(line) for line in scalars.read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]
    for line in lines:
        assert line["loss"] == pytest.approx(line[LOSSES[task]], rel=1e-4)
        assert line["lr"] > 0 and line["images_per_second"] > 0 and 0 < line["std_features"] < 1
    assert {"loss", LOSSES[task], "lr", "images_per_second", "std_features"} <= set(events.Tags()["scalars"])
    # The rate rises over the first epoch's three steps, to fall along the cosine after them.
    rates = [line["lr"] for line in lines]
    assert rates[0] < rates[1] < rates[2] <= rates[3] > rates[4] > rates[5]


def test_masked_tasks_show_a_picture_at_the_end_of_every_epoch(finished):
    task, work_dir = finished
    events, scalars = events_of(work_dir)
    if task not in MASKED:
        assert events.Tags()["images"] == []
        return
    pictures = events.Images("reconstruction")
    assert [picture.step for picture in pictures] == [3, 6]
    side = TINY_TASKS[task]["image_size"]
    assert (pictures[0].width, pictures[0].height) == (3 * side, 4 * side)  # three panels, four images
    assert len(list((scalars.parent / "vis_image").glob("reconstruction*"))) == 2


def test_a_resumed_run_with_workers_ends_as_an_uninterrupted_one_without(finished, run_tiny, tmp_path):
    task, work_dir = finished
    torch.rand(3)  # the process that resumes has another history
    run_tiny(tmp_path, "--resume_from", str(work_dir / "epoch_1.pth"), task=task, num_workers=2)
    assert_same_run(read_checkpoint(work_dir / "epoch_2.pth"), read_checkpoint(tmp_path / "epoch_2.pth"))


def test_the_run_is_the_same_without_pictures(finished, run_tiny, tmp_path, monkeypatch):
    task, work_dir = finished
    if task not in MASKED:
        pytest.skip("has no picture")
    monkeypatch.setattr(PictureHook, "after_train_iter", lambda *_, **__: None)
    run_tiny(tmp_path, task=task)
    assert events_of(tmp_path)[0].Tags()["images"] == []
    assert_same_run(read_checkpoint(work_dir / "epoch_2.pth"), read_checkpoint(tmp_path / "epoch_2.pth"))


def test_a_resumed_run_of_another_model_is_refused(finished, run_tiny, tmp_path):
    task, work_dir = finished
    change = {"simclr": {"model.feature_channels": 64}, "simmim": {"model.width": 16}, "mae": {"model.width": 32}}
    with pytest.raises(ValueError, match=r"that do not fit the model \("):
        run_tiny(tmp_path, "--resume_from", str(work_dir / "epoch_1.pth"), task=task, **change[task])


@pytest.mark.parametrize("task", LOSSES)
def test_half_precision_runs(task, run_tiny, tmp_path):
    runner = run_tiny(tmp_path, task=task, precision="bf16")
    losses, _ = runner.message_hub.log_scalars[f"train/{LOSSES[task]}"].data
    assert all(math.isfinite(loss) for loss in losses)


@pytest.mark.parametrize("task", LOSSES)
def test_some_steps_of_the_recipes_optimiser_lower_the_loss(task):
    """The same images, with the same parts hidden, at every step."""
    torch.manual_seed(0)
    small = {key: str(value) for key, value in TINY_TASKS[task].items()}
    cfg = load_config(demo_of(task), small)
    model = MODELS.build(cfg.model).train()
    optimiser = build_optim_wrapper(model, cfg.optim_wrapper)
    generator = torch.Generator().manual_seed(1)
    side = cfg.train_dataloader.dataset.view.image_size
    images = torch.randn(8, model.views, 3, side, side, generator=generator)
    samples, history = {"seed": torch.arange(8)}, []
    for _ in range(8):
        loss = model(images, samples, mode="loss")[LOSSES[task]]
        history.append(loss.item())
        optimiser.update_params(loss)
    assert history[-1] < 0.99 * history[0], history


def starting_files(task):
    """Backbones by task: a file's content, and the weights that it means."""
    torch.manual_seed(9)
    if task == "simclr":
        state = ResNetC5(18).state_dict()
        return {f"backbone.{key}": value for key, value in state.items()}, state
    if task == "simmim":
        state = SwinBackbone(8, (1, 1, 1, 1), (1, 2, 2, 4), window=2).state_dict()
        return state, state
    state = VisionTransformerBackbone(16, 1, 2, image_size=32).state_dict()
    return {f"encoder.backbone.{key}": value for key, value in state.items()}, state


@pytest.mark.parametrize("task", LOSSES)
def test_pretrained_weights_start_the_backbone(task, run_tiny, tmp_path):
    content, weights = starting_files(task)
    torch.save({"state_dict": content}, tmp_path / "start.pth")
    run_tiny(tmp_path / "run", "--pretrained", str(tmp_path / "start.pth"), task=task, lr=0.0)
    state = read_checkpoint(tmp_path / "run/epoch_1.pth")["state_dict"]
    for key, value in weights.items():
        if "running_" not in key and not key.endswith("num_batches_tracked"):
            torch.testing.assert_close(state[f"backbone.{key}"], value)
    (log,) = (tmp_path / "run").glob("*/*.log")
    assert "into the backbone: " in log.read_text()


def test_a_run_goes_on_from_the_checkpoint_of_another_and_says_so(finished, run_tiny, tmp_path):
    task, work_dir = finished
    run_tiny(tmp_path, "--pretrained", str(work_dir / "epoch_2.pth"), task=task, lr=0.0)
    (log,) = tmp_path.glob("*/*.log")
    assert "tensors from a checkpoint of tools/train.py" in log.read_text()


def test_unreadable_images_are_replaced_and_listed(radiographs, run_tiny, tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(24):
        shutil.copy(radiographs / f"{number % 12:02d}.jpg", folder / f"{number:02d}.jpg")
    (folder / "03.jpg").write_bytes(b"damaged")
    run_tiny(tmp_path / "run", task="simmim", data_root=folder)
    (line,) = (tmp_path / "run/unreadable.txt").read_text().splitlines()
    assert line.startswith(f"{folder / '03.jpg'}\t")


@pytest.mark.parametrize(
    ("task", "changes", "sentence"),
    [
        ("simmim", {"image_size": 48}, "found views of 48 pixels, expected a multiple of 32 above it"),
        ("mae", {"image_size": 40}, "found views of 40 pixels and a network for 40, expected the same multiple of 16"),
        ("mae", {"model.image_size": 64}, "found views of 32 pixels and a network for 64"),
        (
            "mae",
            {"max_epochs": 1},
            "found max_epochs 1 and a learning rate whose CosineAnnealingLR begins with epoch 1",
        ),
        ("simclr", {"model.type": "SimCLRR"}, "found model.type 'SimCLRR', expected a pretext task"),
        ("simclr", {"train_dataloader.dataset.views": 1}, "found option 'train_dataloader.dataset.views', which"),
        ("mae", {"train_dataloader.dataset.views": 2}, "found views=2, expected 1 of an image for MAE; leave it out"),
        ("simclr", {"queue_length": 16}, "found option 'queue_length', which simclr_demo.py does not have"),
        ("simclr", {"depth": 34}, "found backbone depth 34, expected one of [18, 50, 101]"),
        ("simclr", {"batch_size": 16}, "expected at least one batch of 16"),
    ],
)
def test_what_cannot_run_is_one_line(task, changes, sentence, radiographs, train_cli, tmp_path, capsys):
    options = [f"{key}={value}" for key, value in (TINY_TASKS[task] | {"data_root": radiographs} | changes).items()]
    assert train_cli.main([str(demo_of(task)), "--work_dir", str(tmp_path), "--cfg-options", *options]) == 1
    (line,) = (line for line in capsys.readouterr().err.splitlines() if "error: " in line)
    assert sentence in line
    assert not list(tmp_path.rglob("*.pth"))


def test_an_absent_library_is_one_line(radiographs, train_cli, tmp_path, capsys, monkeypatch):
    def absent(place):
        raise ModuleNotFoundError(f"No module named {place!r}", name=place.split(".")[0])

    monkeypatch.setattr(extras, "import_module", absent)
    options = [f"{key}={value}" for key, value in (TINY_TASKS["mae"] | {"data_root": radiographs}).items()]
    assert train_cli.main([str(demo_of("mae")), "--work_dir", str(tmp_path), "--cfg-options", *options]) == 1
    (line,) = (line for line in capsys.readouterr().err.splitlines() if "error: " in line)
    assert "found no library lightly" in line and "requirements-selfsup.txt" in line
