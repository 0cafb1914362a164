"""Snapshots: what loads, what is refused, and that nothing is skipped silently."""

import pytest
import torch

from Stage1.weights.checkpoints import write_checkpoint
from Stage2.models.checkpoints import encoder_of_snapshot, load_snapshot
from Stage2.models.encoders import ENCODER_NAMES, Encoder
from Stage2.models.few_shot import FewShotSegmenter


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
        "2 not known: state_dict, author": {"state_dict": model.encoder.backbone.state_dict(), "author": "x"},
    }
    for sentence, content in cases.items():
        torch.save(content, tmp_path / "5.pth")
        with pytest.raises(ValueError) as error:
            load_snapshot(model, tmp_path / "5.pth")
        assert "5.pth is not a snapshot of this network, dlfcn_res18 (" in str(error.value)
        assert sentence in str(error.value)


@pytest.mark.parametrize("name", ENCODER_NAMES)
def test_a_snapshot_tells_its_encoder(name):
    """Above all dlfcn_res50 from dlfcn_res50_mmcv, whose backbones have the same names and shapes."""
    with torch.device("meta"):
        state = Encoder(name).state_dict()
    snapshot = {f"encoder.{key}": tensor for key, tensor in state.items()}
    assert encoder_of_snapshot(snapshot) == name
    snapshot.popitem()
    assert encoder_of_snapshot(snapshot) is None
