"""Snapshots: what loads, what is refused, and that nothing is skipped silently."""

import pytest
import torch

from Stage1.weights.checkpoints import read_checkpoint, write_checkpoint
from Stage2.models.encoders import Encoder
from Stage2.models.few_shot import FewShotSegmenter
from Stage2.models.registry import ENCODERS
from Stage2.models.snapshots import SnapshotKind, describe_snapshot, load_snapshot, save_snapshot


def same(module, weights):
    return all(torch.equal(value, weights[key]) for key, value in module.state_dict().items())


def test_snapshots_load_strictly_and_another_encoders_names_both(tmp_path):
    model, other = FewShotSegmenter("dlfcn_res18"), FewShotSegmenter("dlfcn_res18")
    write_checkpoint(model.state_dict(), tmp_path / "snapshots" / "5.pth")
    load_snapshot(other, tmp_path / "snapshots" / "5.pth")
    assert same(other, model.state_dict())
    with pytest.raises(ValueError) as error:
        load_snapshot(FewShotSegmenter("dlfcn_res50"), tmp_path / "snapshots" / "5.pth")
    found = str(error.value).removeprefix(str(tmp_path / "snapshots" / "5.pth"))
    assert found == " is a snapshot of dlfcn_res18 and this network is dlfcn_res50; set modelname=dlfcn_res18."


def test_damaged_snapshots_are_refused_and_say_what_differs(tmp_path):
    model = FewShotSegmenter("dlfcn_res18")
    whole = dict(model.state_dict())
    without_one = {key: value for key, value in whole.items() if key != "encoder.localconv.weight"}
    cases = {
        "(1 missing: encoder.localconv.weight); choose the modelname": without_one,
        "encoder.localconv.weight a int instead of (256, 512, 1, 1)": whole | {"encoder.localconv.weight": 3},
        "2 not in the model: state_dict, author": {"state_dict": model.encoder.backbone.state_dict(), "author": "x"},
    }
    for sentence, content in cases.items():
        torch.save(content, tmp_path / "5.pth")
        with pytest.raises(ValueError) as error:
            load_snapshot(model, tmp_path / "5.pth")
        assert "5.pth is not a snapshot of this network, dlfcn_res18 (" in str(error.value)
        assert sentence in str(error.value)


@pytest.mark.parametrize("name", ENCODERS)
def test_a_snapshot_tells_its_encoder(name):
    """Above all dlfcn_res50 from dlfcn_res50_mmcv, whose backbones have the same names and shapes."""
    with torch.device("meta"):
        state = Encoder(name).state_dict()
    snapshot = {f"encoder.{key}": tensor for key, tensor in state.items()}
    assert describe_snapshot(snapshot) == SnapshotKind(name, "grid_proto")
    snapshot.popitem()
    assert describe_snapshot(snapshot).encoder is None


def test_a_snapshot_says_what_it_is_of_and_keeps_the_published_keys(tmp_path, caplog):
    model = FewShotSegmenter("dlfcn_res18", "global_proto")
    average = {key: value + 1 for key, value in model.state_dict().items()}
    save_snapshot(model, tmp_path / "5.pth")
    save_snapshot(model, tmp_path / "ema_5.pth", average)
    for path, weights in ((tmp_path / "5.pth", model.state_dict()), (tmp_path / "ema_5.pth", average)):
        content = read_checkpoint(path)
        assert list(content) == list(weights)
        assert describe_snapshot(content, {"clsname": "grid_proto"}) == SnapshotKind("dlfcn_res18", "global_proto")
        assert describe_snapshot(dict(content), {"clsname": "global_proto"}).head == "global_proto"
    assert caplog.messages == []
    load_snapshot(FewShotSegmenter("dlfcn_res18", "grid_proto"), tmp_path / "5.pth")
    (said,) = (message for message in caplog.messages if "was trained" in message)
    assert said.endswith("5.pth was trained with clsname=global_proto and is used with clsname=grid_proto")
