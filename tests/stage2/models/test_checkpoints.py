"""Weights: what loads, what is refused, and that nothing is skipped silently."""

import pickle

import pytest
import torch

from Stage2.models.checkpoints import load_backbone, load_snapshot, read_checkpoint, save_atomically
from Stage2.models.encoders import DilatedResNet
from Stage2.models.few_shot import FewShotSegmenter


@pytest.fixture
def backbone():
    return DilatedResNet("dlfcn_res18")


@pytest.fixture(scope="module")
def weights():
    torch.manual_seed(5)
    return DilatedResNet("dlfcn_res18").state_dict()


def same(module, weights):
    return all(torch.equal(value, weights[key]) for key, value in module.state_dict().items())


@pytest.mark.parametrize(
    "wrap",
    [
        lambda weights: {"state_dict": weights, "author": "x"},
        lambda weights: weights | {"fc.weight": torch.ones(1000, 512), "fc.bias": torch.ones(1000)},
        lambda weights: {"state_dict": {f"backbone.{key}": value for key, value in weights.items()}},
        lambda weights: {
            "state_dict": {f"encoder_q.0.{key}": value for key, value in weights.items()}
            | {f"encoder_k.0.{key}": value + 1 for key, value in weights.items()}
            | {"queue": torch.ones(2, 2)}
        },
        lambda weights: (
            {f"encoder.backbone.{key}": value for key, value in weights.items()}
            | {"encoder.localconv.weight": torch.ones(1)}
        ),
    ],
    ids=["stage 1 file", "torchvision", "backbone prefix", "full DenseCL", "snapshot of stage 2"],
)
def test_backbone_files_load_wholly(tmp_path, backbone, weights, wrap):
    torch.save(wrap(dict(weights)), tmp_path / "file.pth")
    assert not same(backbone, weights)
    load_backbone(backbone, tmp_path / "file.pth")
    assert same(backbone, weights)


def test_partly_matching_backbone_is_refused_and_says_what_differs(tmp_path, backbone, weights):
    changed = dict(weights)
    del changed["layer2.0.conv1.weight"]
    changed["layer9.weight"] = torch.ones(3)
    changed["conv1.weight"] = torch.ones(64, 1, 7, 7)
    torch.save({"state_dict": changed}, tmp_path / "file.pth")
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    with pytest.raises(ValueError) as error:
        load_backbone(backbone, tmp_path / "file.pth")
    for part in (
        "1 missing: layer2.0.conv1.weight",
        "1 not known: layer9.weight",
        "1 of another shape: conv1.weight (64, 1, 7, 7) instead of (64, 3, 7, 7)",
    ):
        assert part in str(error.value)
    assert same(backbone, before)


def test_backbone_of_another_depth_is_refused(tmp_path, backbone):
    torch.save({"state_dict": DilatedResNet("dlfcn_res50").state_dict()}, tmp_path / "file.pth")
    with pytest.raises(ValueError, match=r"does not match the backbone .*choose the modelname it was made with"):
        load_backbone(backbone, tmp_path / "file.pth")


def test_missing_and_broken_files(tmp_path, backbone):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        load_backbone(backbone, tmp_path / "nothing.pth")
    (tmp_path / "text.pth").write_text("not weights")
    with pytest.raises(ValueError, match="cannot be read"):
        load_backbone(backbone, tmp_path / "text.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(ValueError, match="holds a list"):
        read_checkpoint(tmp_path / "list.pth")


class RunsCode:
    def __reduce__(self):
        return (print, ("ran",))


def test_code_in_a_pickle_is_not_run(tmp_path, capsys):
    with (tmp_path / "evil.pth").open("wb") as file:
        pickle.dump({"state_dict": RunsCode()}, file)
    with pytest.raises(ValueError, match="cannot be read as a file of plain tensors"):
        read_checkpoint(tmp_path / "evil.pth")
    assert capsys.readouterr().out == ""


def test_snapshots_load_strictly(tmp_path):
    model, other = FewShotSegmenter("dlfcn_res18"), FewShotSegmenter("dlfcn_res18")
    save_atomically(model.state_dict(), tmp_path / "snapshots" / "5.pth")
    load_snapshot(other, tmp_path / "snapshots" / "5.pth")
    assert same(other, model.state_dict())
    with pytest.raises(ValueError, match="not a snapshot of this network"):
        load_snapshot(FewShotSegmenter("dlfcn_res50"), tmp_path / "snapshots" / "5.pth")


def test_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "5.pth"
    save_atomically({"a": 1}, path)
    with pytest.raises((AttributeError, pickle.PicklingError)):
        save_atomically({"a": lambda: 0}, path)
    assert read_checkpoint(path) == {"a": 1}
    assert [entry.name for entry in tmp_path.iterdir()] == ["5.pth"]
