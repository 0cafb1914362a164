"""Snapshots: what loads, what is refused, and that nothing is skipped silently."""

import pickle

import pytest
import torch

from Stage2.models.checkpoints import encoder_of_snapshot, load_snapshot, read_checkpoint, save_atomically
from Stage2.models.encoders import ENCODER_NAMES, Encoder
from Stage2.models.few_shot import FewShotSegmenter


def same(module, weights):
    return all(torch.equal(value, weights[key]) for key, value in module.state_dict().items())


def test_missing_and_broken_files(tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        read_checkpoint(tmp_path / "nothing.pth")
    (tmp_path / "text.pth").write_text("not weights")
    with pytest.raises(ValueError, match="cannot be read"):
        read_checkpoint(tmp_path / "text.pth")
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


def test_snapshots_load_strictly_and_another_encoders_names_both(tmp_path):
    model, other = FewShotSegmenter("dlfcn_res18"), FewShotSegmenter("dlfcn_res18")
    save_atomically(model.state_dict(), tmp_path / "snapshots" / "5.pth")
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


def test_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "5.pth"
    save_atomically({"a": 1}, path)
    with pytest.raises((AttributeError, pickle.PicklingError)):
        save_atomically({"a": lambda: 0}, path)
    assert read_checkpoint(path) == {"a": 1}
    assert [entry.name for entry in tmp_path.iterdir()] == ["5.pth"]
