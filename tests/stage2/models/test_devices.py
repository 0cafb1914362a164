"""Devices by name."""

import pytest
import torch

from Stage2.models.devices import choose_device


def test_devices():
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize("name", ["abacus", "meta", "xpu"])
def test_other_devices_are_unknown(name):
    with pytest.raises(ValueError, match=f"device={name} is unknown; choose auto, cpu or cuda"):
        choose_device(name)


@pytest.mark.skipif(torch.cuda.is_available(), reason="the sentence is for machines without CUDA")
def test_cuda_without_a_device_is_refused():
    with pytest.raises(ValueError, match="device=cuda: this machine has no CUDA device"):
        choose_device("cuda")
