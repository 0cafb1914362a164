"""What runs are built from."""

from pathlib import Path

import pytest
import torch

from Stage2.adaptation import settings as adaptation
from Stage2.adaptation.network import AdaptedNetwork
from Stage2.adaptation.network_file import STARTING, write_network
from Stage2.datasets.catalog import get_dataset
from Stage2.models.resnets import PlainResNet
from Stage2.run_folders.selection import Choice
from Stage2.runs.build import ROOT, adaptation_start, data_folder, encoder_of_start
from Stage2.runs.settings import RunSettings


def test_data_folder_defaults_to_the_data_sets_own():
    data_set = get_dataset("SABS")
    assert data_folder(None, data_set) == ROOT / "data" / "SABS" / "sabs_CT_normalized"
    assert str(data_folder("/scans", data_set)) == "/scans"


@pytest.mark.parametrize(
    ("given", "start", "expected"),
    [
        ({"pretrained_backbone": "b.pth"}, Choice(Path("run/snapshots/5.pth")), "run/snapshots/5.pth"),
        ({"pretrained_backbone": "b.pth"}, None, "b.pth"),
        ({"pretrained_backbone": "b.pth", "adapt_start": "a.pth"}, None, "a.pth"),
        ({"pretrained_backbone": "b.pth", "adapt_start": "random"}, None, "random"),
        ({}, None, "ours.safetensors"),
    ],
)
def test_what_an_adaptation_starts_from(given: dict, start: Choice | None, expected: str, tmp_path, monkeypatch):
    monkeypatch.setattr(adaptation, "STARTING_NETWORK", tmp_path / "ours.safetensors")
    (tmp_path / "ours.safetensors").touch()
    found = adaptation_start(RunSettings(method="adapted", **given), start)
    assert found in (expected, str(tmp_path / expected))


def test_a_file_tells_its_encoder_where_it_can(snapshot: Path, tmp_path: Path):
    """A snapshot, a whole network, a ResNet's backbone; weights that nobody knows are of modelname."""
    backbone, other, whole = tmp_path / "b.pth", tmp_path / "o.pth", tmp_path / "w.safetensors"
    torch.save(PlainResNet(50).state_dict(), backbone)
    torch.save({"patch_embed.weight": torch.zeros(3)}, other)
    write_network(whole, STARTING, AdaptedNetwork("dlfcn_res18", 1), {})
    found = [encoder_of_start(str(file), "dlfcn_swin_mmcv") for file in ("random", snapshot, backbone, other, whole)]
    assert found == ["dlfcn_swin_mmcv", "dlfcn_res18", "dlfcn_res50", "dlfcn_swin_mmcv", None]
    with pytest.raises(FileNotFoundError):
        encoder_of_start("gone.pth", "dlfcn_res18")
