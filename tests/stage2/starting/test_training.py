"""Pre-training on drawn slices is the same again, also after an interruption."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from Stage2.adaptation.network import AdaptedNetwork
from Stage2.models.resnets import PlainResNet
from Stage2.starting.drawn_slices import CLASSES, draw_anatomy
from Stage2.starting.training import Recipe, draw_anatomies, pretrain

RECIPE = Recipe(encoder="toy", steps=2, batch=2, anatomies=1, coarse=0.5)


@pytest.fixture(autouse=True)
def small(toy, monkeypatch):
    """The toy encoder, small slices, and a state after every step."""
    for name, value in (("COARSE_SIDE", 32), ("FINE_SIDE", 64), ("KEEP_EVERY", 1)):
        monkeypatch.setattr(f"Stage2.starting.training.{name}", value)


def assert_same(one: AdaptedNetwork, other: AdaptedNetwork) -> None:
    others = other.state_dict()
    assert all(torch.equal(value, others[key]) for key, value in one.state_dict().items())


def test_interrupted_it_ends_as_uninterrupted(tmp_path):
    steps = []
    whole = pretrain(RECIPE, tmp_path / "whole.pth", report=lambda step, loss: steps.append(step))
    assert steps == [1, 2]
    assert len(whole.head.members) == 1 + len(CLASSES) and not whole.training

    def stop(step: int, loss: float) -> None:
        if step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pretrain(RECIPE, tmp_path / "half.pth", report=stop)
    steps.clear()
    assert_same(whole, pretrain(RECIPE, tmp_path / "half.pth", report=lambda step, loss: steps.append(step)))
    assert steps == [2]
    assert_same(whole, pretrain(RECIPE, tmp_path / "half.pth", report=lambda *_: pytest.fail("it was done")))


def test_the_state_of_another_recipe_is_refused(tmp_path):
    pretrain(replace(RECIPE, steps=1), tmp_path / "state.pth")
    with pytest.raises(ValueError, match="is the state of another recipe; give another folder, or remove it"):
        pretrain(RECIPE, tmp_path / "state.pth")
    (tmp_path / "state.pth").write_bytes(b"PK\x03\x04damaged")
    with pytest.raises(ValueError, match="not a readable checkpoint"):
        pretrain(RECIPE, tmp_path / "state.pth")


def test_the_encoder_of_a_file_is_learned_on_from(tmp_path, monkeypatch):
    backbone = PlainResNet(18)
    torch.save(backbone.state_dict(), tmp_path / "backbone.pth")
    monkeypatch.setattr("Stage2.starting.training.RATE", 0.0)
    recipe = replace(RECIPE, encoder="dlfcn_res18", steps=1)
    network = pretrain(recipe, tmp_path / "state.pth", Path(tmp_path / "backbone.pth"))
    assert torch.equal(network.backbone.conv1.weight, backbone.conv1.weight)
    torch.save(PlainResNet(18).state_dict(), tmp_path / "backbone.pth")  # other weights under the same name
    for other in (None, Path(tmp_path / "backbone.pth")):
        with pytest.raises(ValueError, match="another recipe"):
            pretrain(recipe, tmp_path / "state.pth", other)


def test_anatomies_come_in_the_order_of_their_numbers():
    drawn = draw_anatomies(3, 2, workers=1)
    assert all((own == draw_anatomy(3, number)).all() for number, own in enumerate(drawn))
