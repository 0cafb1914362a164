"""Whatever lies in the place of weights, every command that reads weights refuses it in one line with its name."""

from pathlib import Path

import numpy as np
import pytest
import torch
from bad_weights import COMPLAINTS, write_bad_file
from PIL import Image
from tool_modules import load_tool
from torch import nn

from Stage2 import finetuning, training, validation
from Stage2.models.few_shot import FewShotSegmenter
from Stage2.models.registry import ENCODERS

ROOT = Path(__file__).resolve().parents[2]
BACKBONE = {"conv1.weight": torch.ones(64, 3, 7, 7), "bn1.weight": torch.ones(64)}


class TinyBackbone(nn.Sequential):
    """One convolution: (B, 3, H, W) -> (B, 4, H/16, W/16)."""

    stride, out_channels = 16, 4

    def __init__(self):
        super().__init__(nn.Conv2d(3, 4, 16, stride=16))


@pytest.fixture(scope="module", autouse=True)
def tiny():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(ENCODERS, "tiny", TinyBackbone)
        yield


@pytest.fixture(scope="module")
def snapshot(tiny):
    return dict(FewShotSegmenter("tiny").state_dict())


def tool(name, *arguments):
    return load_tool(name).main([str(argument) for argument in arguments])


def stage2(module, folder, out, **settings):
    path = {"data_dir": str(folder), "log_dir": str(out)}
    with pytest.raises(SystemExit) as ending:
        module.experiment.run(config_updates={"modelname": "tiny", "num_workers": 0, "path": path, **settings})
    return ending.value.code


def predict(bad, folder, out):
    support = ["--support", folder / "image_1.nii.gz", folder / "label_1.nii.gz", "--query", folder / "image_2.nii.gz"]
    return tool("predict", *support, "--checkpoint", bad, "--label", 1, "--out", out, "--no-cache", "--modality", "MR")


def correspondence(bad, folder, out):
    Image.fromarray(np.zeros((40, 40), np.uint8)).save(bad.parent / "x.png")
    return tool("visualize", "correspondence", bad, bad.parent / "x.png", "--out", out / "x.png")


def evaluate(bad, folder, out):
    return tool("evaluate_features", bad, "--data", folder, "--dataset", "CHAOST2", "--device", "cpu")


SNAPSHOT_READERS = {
    "export": lambda bad, folder, out: tool("export_model", bad, out),
    "predict": predict,
    "training": lambda bad, folder, out: stage2(training, folder, out, reload_model_path=str(bad)),
    "finetuning": lambda bad, folder, out: stage2(finetuning, folder, out, reload_model_path=str(bad)),
    "validation": lambda bad, folder, out: stage2(validation, folder, out, reload_model_path=str(bad)),
}
BACKBONE_READERS = {
    "extract": lambda bad, folder, out: tool("extract_backbone_weights", bad, out / "out.pth"),
    "correspondence": correspondence,
    "evaluate": evaluate,
    "pretrained_backbone": lambda bad, folder, out: stage2(training, folder, out, pretrained_backbone=str(bad)),
}


@pytest.mark.parametrize("kind", COMPLAINTS)
@pytest.mark.parametrize("reader", [*SNAPSHOT_READERS, *BACKBONE_READERS])
def test_what_is_no_weights_is_one_line(reader, kind, snapshot, cohort_folder, tmp_path, capsys):
    if kind == "folder" and reader in SNAPSHOT_READERS:
        pytest.skip("a folder is taken for that of a run")
    (tmp_path / "in").mkdir()
    bad = write_bad_file(kind, tmp_path / "in", snapshot if reader in SNAPSHOT_READERS else BACKBONE)
    read = SNAPSHOT_READERS.get(reader) or BACKBONE_READERS[reader]
    assert read(bad, cohort_folder, tmp_path / "out") == 1
    said = capsys.readouterr().err
    line = said.splitlines()[-1]
    assert COMPLAINTS[kind] in line
    assert str(bad) in line
    assert said.count(str(bad)) == 1
    assert "Traceback" not in said
    assert "weights_only" not in said
