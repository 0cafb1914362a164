"""The benchmark compares like with like: the plain step is the model's, both pipelines see the same images."""

import pytest
import torch

from Stage1.benchmark import measure_views, plain_losses, published_view, training_step
from Stage1.models.densecl import DenseCL


def test_the_plain_step_is_the_model_s_step():
    views = torch.randn(2, 4, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    states, losses, gradients = [], [], []
    for plain in (True, False):
        torch.manual_seed(0)
        model = DenseCL(depth=18, queue_length=16).train()
        outputs = {"loss": plain_losses(model, *views)} if plain else model.loss(*views)
        loss = sum(value for name, value in outputs.items() if name.startswith("loss"))
        loss.backward()
        losses.append(loss.item())
        gradients.append(model.encoder_q[0].conv1.weight.grad)
        states.append((model.queue, model.queue2))
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)
    torch.testing.assert_close(*gradients)
    torch.testing.assert_close(*states)


def test_a_step_of_every_kind_runs(monkeypatch):
    original = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self: original(self, backend="eager"))
    for name in ("plain", "fp32", "bf16", "fp32 compiled", "bf16 compiled"):
        training_step(name, depth=18, batch=2, image_size=32, device="cpu")()


def test_both_pipelines_are_timed_on_the_same_images(radiographs, tmp_path):
    for number in range(20):
        (tmp_path / f"{number:02d}.jpg").symlink_to(radiographs / f"{number % 12:02d}.jpg")
    spent = measure_views(tmp_path, image_size=32)
    assert spent.keys() == {"published", "host", "device"}
    assert min(spent.values()) > 0
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    with pytest.raises(ValueError, match=r"found 12 images in .*, expected at least 16"):
        measure_views(radiographs)
    assert torch.get_num_threads() == 2  # whoever measures goes on as before, also after an error
    torch.set_num_threads(threads)


def test_the_published_view_has_the_published_steps():
    names = [type(step).__name__ for step in published_view().transforms]
    assert names[:5] == ["RandomResizedCrop", "RandomApply", "RandomGrayscale", "RandomApply", "RandomHorizontalFlip"]
