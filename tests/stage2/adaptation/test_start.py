"""A network starts from random weights, an encoder, or a whole network whose tissues become the organs."""

from pathlib import Path

import pytest
import torch
from stage2.adaptation.discs import disc_scan

from Stage2.adaptation.network import AdaptedNetwork, Head
from Stage2.adaptation.network_file import ADAPTED, STARTING, write_network
from Stage2.adaptation.settings import DEFAULT_ENCODER, identity_of_start, starting_file
from Stage2.adaptation.start import encoder_of, starting_network
from Stage2.models.resnets import PlainResNet

SCANS = [disc_scan(seed) for seed in (0, 1)]


def state_of(network: AdaptedNetwork) -> dict[str, torch.Tensor]:
    return {key: value for key, value in network.state_dict().items() if not key.startswith("head")}


def assert_same(one, other) -> None:
    assert one.keys() == other.keys()
    assert all(torch.equal(value, other[key]) for key, value in one.items())


def test_random_weights_come_from_the_seed(toy):
    first, again, other = (starting_network("random", toy, SCANS, 2, seed).state_dict() for seed in (1, 1, 2))
    assert_same(first, again)
    assert not torch.equal(first["head.parts.weight"], other["head.parts.weight"])
    assert starting_network("random", None, SCANS, 2, 1).encoder_name == DEFAULT_ENCODER


def test_the_encoder_of_a_backbone_file(tmp_path):
    torch.manual_seed(5)
    backbone = PlainResNet(18)
    torch.save(backbone.state_dict(), tmp_path / "backbone.pth")
    network = starting_network(tmp_path / "backbone.pth", None, SCANS, 2, 1)
    assert network.encoder_name == "dlfcn_res18" == encoder_of(tmp_path / "backbone.pth")
    assert_same(network.backbone.state_dict(), backbone.state_dict())
    assert len(network.head.members) == 3


def test_the_encoder_of_a_snapshot(snapshot, caplog):
    caplog.set_level("INFO")
    network = starting_network(snapshot, None, SCANS, 2, 1)
    weights = torch.load(snapshot, weights_only=True)
    assert network.encoder_name == "dlfcn_res18"
    assert torch.equal(network.backbone.conv1.weight, weights["encoder.backbone.conv1.weight"])
    assert "the decoder is random (seed 1)" in caplog.text


class Tissues(AdaptedNetwork):
    """Its features are the image at half the size, so that its tissues are known: 0 dark, 1 middle, 2 bright."""

    def features(self, images: torch.Tensor) -> torch.Tensor:
        middle = torch.nn.functional.avg_pool2d(images[:, 1:2], 2)
        return torch.cat([middle, middle**2, torch.zeros(len(images), 30, *middle.shape[-2:])], dim=1)


@pytest.fixture
def known(toy, monkeypatch) -> Tissues:
    """A network that tells apart background (two tissues), the bright and the dark organ."""
    network = Tissues(toy, torch.arange(4))
    with torch.no_grad():
        network.head.parts.weight.zero_()
        network.head.parts.bias.copy_(torch.tensor([0.0, -3.0, -2.0, -20.0]))
        network.head.parts.weight[1, 0], network.head.parts.weight[2, 0] = 5.0, -5.0
    described = {"kind": STARTING}
    monkeypatch.setattr("Stage2.adaptation.start.describe_file", lambda path: described)
    monkeypatch.setattr("Stage2.adaptation.start.read_network", lambda path: (network, described))
    return network


def test_an_organ_begins_as_the_tissues_that_the_start_finds_in_it(known, monkeypatch):
    monkeypatch.setattr("Stage2.adaptation.start.HEAD_STEPS", 0)
    old = known.head.parts.weight.clone()
    network = starting_network("known.safetensors", None, SCANS, 2, 1)
    assert network.head.assignment.tolist() == [0, 1, 2, 0, 0, 1, 2]
    assert torch.equal(network.head.parts.weight[:4], old)
    assert network.head.parts.bias[4:].tolist() == [-3.0, -3.0, -3.0]
    swapped = [type(scan)(scan.name, scan.images, (3 - scan.labels) % 3, scan.known) for scan in SCANS]
    known.head = Head(32, torch.arange(4))
    with torch.no_grad():
        known.head.parts.weight.copy_(old)
        known.head.parts.bias.copy_(torch.tensor([0.0, -3.0, -2.0, -20.0]))
    assert starting_network("a", None, swapped, 2, 1).head.assignment.tolist() == [0, 2, 1, 0, 0, 1, 2]


def test_an_organ_that_no_tissue_is_begins_as_its_own_part(known, monkeypatch):
    monkeypatch.setattr("Stage2.adaptation.start.HEAD_STEPS", 0)
    scans = [type(scan)(scan.name, scan.images, (scan.labels == 1) * 1, scan.known) for scan in SCANS]
    for scan in scans:
        scan.labels[:, :2, :2] = 2
    network = starting_network("known.safetensors", None, scans, 2, 1)
    assert network.head.assignment.tolist() == [0, 1, 0, 0, 0, 1, 2]
    assert network.head.parts.bias[4:].tolist() == [-3.0, -3.0, 0.0]


def test_the_head_finds_the_organs_before_the_network_learns(known):
    network = starting_network("known.safetensors", None, SCANS, 2, 1).eval()
    with torch.inference_mode():
        images = disc_scan(9).images[1:3, None].expand(-1, 3, -1, -1)
        found = network(images).argmax(dim=1)
    drawn = disc_scan(9).labels[1:3]
    for organ in (1, 2):
        both = ((found == organ) & (drawn == organ)).sum()
        assert 2 * both / ((found == organ).sum() + (drawn == organ).sum()) > 0.7


def test_an_adapted_file_is_gone_on_with(toy, tmp_path):
    torch.manual_seed(2)
    network = AdaptedNetwork(toy, 3)
    write_network(tmp_path / "a.safetensors", ADAPTED, network, {})
    found = starting_network(tmp_path / "a.safetensors", None, SCANS, 2, 1)
    assert_same(state_of(found), state_of(network))
    assert len(found.head.members) == 3
    again = starting_network(tmp_path / "a.safetensors", toy, SCANS, 2, 1)
    assert_same(found.state_dict(), again.state_dict())
    with pytest.raises(ValueError, match=r"is a network of toy, not of dlfcn_res18; leave --encoder out"):
        starting_network(tmp_path / "a.safetensors", "dlfcn_res18", SCANS, 2, 1)


def test_another_encoder_is_refused(snapshot, tmp_path):
    with pytest.raises(ValueError, match=r"a ResNet-18 and the model is a ResNet-50.*set --encoder=dlfcn_res18"):
        starting_network(snapshot, "dlfcn_res50", SCANS, 2, 1)
    torch.save({"a": torch.zeros(1)}, tmp_path / "a.pth")
    with pytest.raises(ValueError, match=r"or name its encoder by --encoder, one of dlfcn_res18"):
        starting_network(tmp_path / "a.pth", None, SCANS, 2, 1)
    with pytest.raises(FileNotFoundError, match="found no file"):
        starting_network(tmp_path / "absent.pth", None, SCANS, 2, 1)


def test_the_start_that_is_meant(tmp_path, snapshot, monkeypatch):
    there = tmp_path / "starting.safetensors"
    monkeypatch.setattr("Stage2.adaptation.settings.STARTING_NETWORK", there)
    assert starting_file(None) == starting_file("random") == "random"
    there.touch()
    assert starting_file(None) == starting_file(None, DEFAULT_ENCODER) == str(there)
    assert starting_file(None, "dlfcn_res50") == starting_file("random") == "random"
    assert starting_file(snapshot.parent.parent) == str(snapshot)
    assert starting_file(str(snapshot)) == str(snapshot)
    assert identity_of_start("random") == "random"
    assert len(identity_of_start(snapshot)) == 64
    with pytest.raises(FileNotFoundError):
        starting_file(Path(tmp_path))
