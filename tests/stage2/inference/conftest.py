"""A folder of what requests name, with small networks."""

from pathlib import Path

import pytest
import SimpleITK as sitk
import torch
from stage2.drawn import drawn_scan

from Stage2.adaptation.confidence import Reference
from Stage2.adaptation.network import AdaptedNetwork
from Stage2.adaptation.network_file import ADAPTED, STARTING, write_network
from Stage2.inference.adapted_predictor import Adapted
from Stage2.inference.transform import scan_transform

DESCRIBED = {"start": "random", "steps": 3, "minutes": 0.1, "supports": [{"scan": "s", "mask": "m"}]}


@pytest.fixture
def case(toy, snapshot, tmp_path, monkeypatch) -> Path:
    """A folder with a scan, its mask, an adapted network, a starting network and a snapshot."""
    monkeypatch.setattr("Stage2.adaptation.settings.STARTING_NETWORK", tmp_path / "none")
    for name, image in zip(("scan", "mask"), drawn_scan((40, 32, 3), (5.0, 5.0, 10.0)), strict=True):
        sitk.WriteImage(image, str(tmp_path / f"{name}.nii.gz"))
    torch.manual_seed(0)
    network = AdaptedNetwork(toy, 2).eval()
    reference = Reference(((1.0, 2.0),) * 2)
    adapted = Adapted(network, (2, 3), scan_transform("MR", axes="LAS"), 64, reference, DESCRIBED | {"names": ["a"]})
    write_network(tmp_path / "adapted.safetensors", ADAPTED, network, adapted.description())
    write_network(tmp_path / "starting.safetensors", STARTING, network, {})
    (tmp_path / "damaged.safetensors").write_bytes((tmp_path / "adapted.safetensors").read_bytes()[:999])
    (tmp_path / "5.pth").symlink_to(snapshot)
    return tmp_path
