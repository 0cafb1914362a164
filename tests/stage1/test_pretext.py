"""What a run asks of every pretext task."""

import pytest
import torch
from mmengine.registry import MODELS

from Stage1.models.backbone import ResNetC5
from Stage1.models.densecl import DenseCL
from Stage1.models.mae import MAE
from Stage1.models.pretext import PretextTask
from Stage1.models.simclr import SimCLR
from Stage1.models.simmim import SimMIM
from Stage1.runs import tasks  # noqa: F401 registers them
from Stage1.runs.config import check_schedule, find_task


class Mean(PretextTask):
    """The smallest task: features of two views are to be equal."""

    def __init__(self, **common):
        super().__init__(**common)
        self.backbone = ResNetC5(18)
        self.prepare(self.backbone)

    def loss(self, first, second):
        return {"loss": (self.backbone(first) - self.backbone(second)).square().mean()}


def test_modes():
    model = Mean().eval()
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(model(images), model.backbone(images))
        assert model(torch.stack([images, images], dim=1), mode="loss")["loss"] == 0
        with pytest.raises(ValueError, match="found mode 'predict', expected 'loss' or 'tensor'"):
            model(images, mode="predict")
        assert model.picture(images, images) is None
    assert model.noted({"seed": torch.zeros(2)}) == {}
    assert Mean.check_settings({}, {}, 4) is None
    with pytest.raises(NotImplementedError):
        PretextTask().loss(images)


def test_an_unknown_precision_is_refused():
    with pytest.raises(
        ValueError, match=r"found precision 'half', expected one of \['bf16', 'fp16', 'fp32'\]; set prec"
    ):
        Mean(precision="half")


def test_channels_last_is_the_layout_of_weights_and_images():
    model = Mean(channels_last=True)
    assert model.backbone.layer1[0].conv1.weight.is_contiguous(memory_format=torch.channels_last)
    assert model.laid_out(torch.randn(2, 3, 8, 8)).is_contiguous(memory_format=torch.channels_last)


SMALL = {
    "simclr": lambda **common: SimCLR(depth=18, feature_channels=8, **common),
    "simmim": lambda **common: SimMIM(8, (1, 1, 1, 1), (1, 1, 2, 2), 2, **common),
    "mae": lambda **common: MAE(64, 16, 1, 2, 8, 1, 2, **common),
}


def losses_of(model, images):
    with torch.no_grad():
        return {name: value.item() for name, value in model(images, {"seed": torch.arange(2)}, mode="loss").items()}


@pytest.mark.parametrize("task", SMALL)
def test_the_memory_layout_leaves_the_loss(task):
    found = []
    for channels_last in (False, True):
        torch.manual_seed(0)
        model = SMALL[task](channels_last=channels_last).train()
        found.append(losses_of(model, torch.randn(2, model.views, 3, 64, 64)))
    assert found[1] == pytest.approx(found[0], rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("task", SMALL)
def test_what_is_compiled_is_what_runs(task, monkeypatch):
    """Compiling takes minutes; a module that is compiled is used where the module itself is called."""
    compiled, called = [], []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self: compiled.append(self))
    SMALL[task]()
    assert not compiled
    model = SMALL[task](compile=True)
    for part in compiled:
        part.register_forward_hook(lambda module, *_: called.append(module))
    losses_of(model, torch.randn(2, model.views, 3, 64, 64))
    assert {id(part) for part in called} == {id(part) for part in compiled}
    own = {id(parameter) for parameter in model.backbone.parameters()}
    assert any(id(parameter) in own for part in compiled for parameter in part.parameters())


@pytest.mark.parametrize(("task", "views"), [(DenseCL, 2), (SimCLR, 2), (SimMIM, 1), (MAE, 1)])
def test_tasks_are_found_by_name_and_say_how_many_views_they_take(task, views):
    assert find_task(task.__name__) is task
    assert task.views == views


@pytest.mark.parametrize("name", ["MoCo", "ColourAugmentation", "ResNetC5"])
def test_what_is_no_task_is_refused_with_the_names_of_those_there_are(name):
    with pytest.raises(
        ValueError, match=rf"found model\.type '{name}', expected a pretext task, .*DenseCL, MAE, SimCLR"
    ):
        find_task(name)


def test_every_module_of_models_that_defines_a_task_registers_it():
    registered = {one for one in MODELS.module_dict.values() if isinstance(one, type) and issubclass(one, PretextTask)}
    assert {DenseCL, SimCLR, SimMIM, MAE} <= registered


def test_a_schedule_that_begins_after_the_last_epoch_is_refused():
    schedule = [{"type": "LinearLR", "begin": 0, "end": 5}, {"type": "CosineAnnealingLR", "begin": 5}]
    check_schedule(schedule, 6)
    for epochs in (5, 3):
        with pytest.raises(
            ValueError, match=rf"found max_epochs {epochs} and .*CosineAnnealingLR begins with epoch 5, .*above 5, or "
            r"param_scheduler\.0\.end and param_scheduler\.1\.begin lower$"
        ):  # fmt: skip
            check_schedule(schedule, epochs)
    check_schedule([{"type": "LinearLR", "begin": 100, "by_epoch": False}], 3)
