"""Whole runs of a tiny config: logs, the same seed twice, starting weights, unreadable images."""

import json
import math
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from stage1.comparison import assert_same_run
from stage1.conftest import DEMO, TINY
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from Stage1.files import locked
from Stage1.models.backbone import ResNetC5
from Stage1.runs.hooks import FiniteHook
from Stage1.weights.checkpoints import read_checkpoint


@pytest.fixture(scope="module")
def finished(run_tiny, tmp_path_factory):
    """Folder of a run of two epochs, not interrupted."""
    work_dir = tmp_path_factory.mktemp("finished")
    run_tiny(work_dir)
    return work_dir


def test_logs_and_checkpoints(finished):
    assert sorted(path.name for path in finished.glob("*.pth")) == ["epoch_1.pth", "epoch_2.pth"]
    (scalars,) = finished.glob("*/vis_data/scalars.json")
    lines = [json.loads(line) for line in scalars.read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]
    for line in lines:
        assert line["loss"] == pytest.approx(line["loss_contra_single"] + line["loss_contra_dense"], rel=1e-4)
        assert line["lr"] > 0
        assert line["images_per_second"] > 0
        for branch in ("single", "dense"):
            assert 0 <= line[f"accuracy_{branch}"] <= 1
            assert 0 < line[f"std_{branch}"] < 0.1
    events = EventAccumulator(str(scalars.parent)).Reload()
    wanted = {"loss", "loss_contra_single", "loss_contra_dense", "lr", "images_per_second"}
    wanted |= {"accuracy_single", "accuracy_dense", "std_single", "std_dense"}
    assert wanted <= set(events.Tags()["scalars"])
    (log,) = finished.glob("*/*.log")
    assert "eta: 0:00:" in log.read_text()


def test_runs_of_one_process_that_start_in_the_same_second_keep_their_logs_apart(run_tiny, tmp_path, monkeypatch):
    monkeypatch.setattr("mmengine.runner.runner.time.strftime", lambda *_: "20260101_000000")
    for name in ("first", "second"):
        runner = run_tiny(tmp_path / name, max_epochs=1)
        (scalars,) = (tmp_path / name).glob("*/vis_data/scalars.json")
        assert len(scalars.read_text().splitlines()) == 3
        assert len(runner.message_hub.log_scalars["train/lr"].data[0]) == 3


def test_same_seed_same_run_with_any_number_of_workers(finished, run_tiny, tmp_path):
    run_tiny(tmp_path, num_workers=2)
    assert_same_run(read_checkpoint(finished / "epoch_2.pth"), read_checkpoint(tmp_path / "epoch_2.pth"))


def test_another_seed_another_run(finished, run_tiny, tmp_path):
    run_tiny(tmp_path, "--seed", "1", max_epochs=1)
    ours, other = (read_checkpoint(folder / "epoch_1.pth")["state_dict"] for folder in (finished, tmp_path))
    assert not torch.equal(ours["encoder_q.0.conv1.weight"], other["encoder_q.0.conv1.weight"])
    assert not torch.equal(ours["queue"], other["queue"])


def test_pretrained_weights_start_both_encoders(radiographs, train_cli, run_tiny, tmp_path):
    torch.manual_seed(9)
    weights = ResNetC5(18).state_dict()
    torch.save(weights, tmp_path / "resnet18.pth")
    run_tiny(tmp_path / "run", "--pretrained", str(tmp_path / "resnet18.pth"), max_epochs=1, lr=0.0)
    state = read_checkpoint(tmp_path / "run/epoch_1.pth")["state_dict"]
    for key in ("conv1.weight", "layer4.1.conv2.weight"):
        for encoder in ("backbone", "encoder_q.0", "encoder_k.0"):
            torch.testing.assert_close(state[f"{encoder}.{key}"], weights[key])
    (log,) = (tmp_path / "run").glob("*/*.log")
    assert f"into the backbone: {len(weights)} tensors from a backbone file" in log.read_text()


@pytest.fixture
def damaged(radiographs, tmp_path):
    """A folder of 48 images, two of which (4 %) are damaged."""
    folder = tmp_path / "damaged"
    folder.mkdir()
    for number in range(48):
        shutil.copy(radiographs / f"{number % 12:02d}.jpg", folder / f"{number:02d}.jpg")
    (folder / "03.jpg").write_bytes(b"damaged")
    (folder / "07.jpg").write_bytes(b"")
    return folder


def test_unreadable_images_are_counted_and_listed_once(damaged, run_tiny, tmp_path):
    run_tiny(tmp_path / "run", max_epochs=2, data_root=damaged, batch_size=8)
    (log,) = (tmp_path / "run").glob("*/*.log")
    assert log.read_text().count("2 of 48 images could not be read so far") == 1
    lines = (tmp_path / "run/unreadable.txt").read_text().splitlines()
    assert [line.split("\t")[0] for line in lines] == [str(damaged / "03.jpg"), str(damaged / "07.jpg")]
    assert all(line.split("\t")[1] for line in lines)


def test_a_resumed_run_keeps_the_list_of_unreadable_images(damaged, run_tiny, tmp_path):
    run_tiny(tmp_path, max_epochs=2, data_root=damaged, batch_size=8)
    before = (tmp_path / "unreadable.txt").read_text()
    run_tiny(tmp_path, "--resume_from", str(tmp_path / "epoch_1.pth"), max_epochs=2, data_root=damaged, batch_size=8)
    assert (tmp_path / "unreadable.txt").read_text() == before
    for path in sorted(damaged.iterdir()):
        path.write_bytes((damaged / "01.jpg").read_bytes())
    run_tiny(tmp_path, max_epochs=1, data_root=damaged, batch_size=8)
    assert not (tmp_path / "unreadable.txt").exists()  # a new run starts a new list


def test_a_run_stops_when_more_than_a_twentieth_is_unreadable(damaged, run_tiny, tmp_path, monkeypatch):
    monkeypatch.setattr("Stage1.runs.config.check_sample", lambda dataset: None)  # as if the sample had missed them
    (damaged / "11.jpg").write_bytes(b"")
    with pytest.raises(ValueError, match=r"found 3 unreadable files among 48 images .* expected at most 5%"):
        run_tiny(tmp_path / "run", max_epochs=1, data_root=damaged, batch_size=8)
    assert len((tmp_path / "run/unreadable.txt").read_text().splitlines()) == 3


def test_the_plan_is_one_line_and_dumps_stay_in_the_log_file(run_tiny, tmp_path, capfd):
    run_tiny(tmp_path, max_epochs=1)
    (log,) = tmp_path.glob("*/*.log")
    shown = capfd.readouterr()
    shown = shown.out + shown.err
    assert shown.count("DenseCL with ResNet-18: 12 images, 1 epochs, 1 process with 4 images per step each; a new") == 1
    assert "lr 0.0375 is for 32 images per step, here are 4: the linear rule would give 0.00468" in shown
    for dump in ("System environment:", "Config:", "Hooks will be executed"):
        assert dump in log.read_text()
        assert dump not in shown


def test_the_linear_rule_is_an_option(run_tiny, tmp_path):
    runner = run_tiny(tmp_path, "--auto-scale-lr", max_epochs=1)
    assert runner.message_hub.log_scalars["train/lr"].data[0][0] == pytest.approx(0.0375 * 4 / 32)
    (log,) = tmp_path.glob("*/*.log")
    assert "linear rule" not in log.read_text()


def test_a_run_that_diverges_stops_at_the_step_and_saves_nothing(radiographs, train_cli, tmp_path, capsys):
    options = [f"{key}={value}" for key, value in (TINY | {"data_root": radiographs, "lr": 1e30}).items()]
    assert train_cli.main([str(DEMO), "--work_dir", str(tmp_path / "run"), "--cfg-options", *options]) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "train.py: error" in line]
    assert re.search(r"found loss_contra_single nan at step 2 \(epoch 1\), expected a finite number: .* lower lr", line)
    assert not list((tmp_path / "run").rglob("*.pth"))


@pytest.mark.parametrize("name", ["loss", "loss_a", "losses"])
def test_a_loss_of_any_name_stops_a_run_that_diverges(name):
    outputs = {"loss": torch.tensor(math.nan), "std_a": torch.tensor(math.nan), name: torch.tensor(math.inf)}
    with pytest.raises(ValueError, match=f"found {name} inf at step 1"):
        FiniteHook().after_train_iter(SimpleNamespace(iter=0, epoch=0), 0, outputs=outputs)


def test_weights_that_are_not_finite_are_not_saved(run_tiny, tmp_path, monkeypatch):
    """The last step's gradient spoils the weights after its loss was fine."""
    monkeypatch.setattr("Stage1.runs.hooks.FiniteHook.after_train_iter", lambda *_, **__: None)
    with pytest.raises(ValueError, match=r"found numbers that are not finite in .* at step 3: the training"):
        run_tiny(tmp_path / "run", lr=1e30)
    assert not list((tmp_path / "run").rglob("*.pth"))


def test_a_folder_and_a_file_with_unusual_names(damaged, run_tiny, tmp_path):
    """Any character in the folder's name; bytes that are no UTF-8 in the name of an unreadable image."""
    folder = damaged.rename(tmp_path / 'my images, [new] it\'s "x"')
    name = os.fsencode(folder) + b"/04 \xe9.jpg"
    Path(os.fsdecode(name)).write_bytes(b"damaged")
    (folder / "03.jpg").write_bytes((folder / "01.jpg").read_bytes())
    runner = run_tiny(tmp_path / "run", max_epochs=1, data_root=folder, batch_size=8)
    assert runner.train_dataloader.dataset.data_root == folder
    listed = (tmp_path / "run/unreadable.txt").read_bytes().splitlines()
    assert [line.rpartition(b"\t")[0] for line in listed] == [name, os.fsencode(folder / "07.jpg")]
    assert (tmp_path / "run/epoch_1.pth").is_file()


@pytest.mark.parametrize("rank", [None, "1"])  # left in the environment by another launcher
def test_a_second_run_in_the_same_folder_is_refused(radiographs, train_cli, tmp_path, capsys, monkeypatch, rank):
    if rank:
        monkeypatch.setenv("RANK", rank)
    options = [f"{key}={value}" for key, value in (TINY | {"data_root": radiographs}).items()]
    with locked(tmp_path):
        assert train_cli.main([str(DEMO), "--work_dir", str(tmp_path), "--cfg-options", *options]) == 1
    assert f"process {os.getpid()} on" in capsys.readouterr().err


@pytest.mark.parametrize("limit", [20_000, 4_000_000], ids=["log", "checkpoint"])
def test_a_full_disk_ends_a_run_with_one_line(radiographs, tmp_path, limit):
    """A limit on the size of files stands for the disk."""
    options = [f"{key}={value}" for key, value in (TINY | {"data_root": radiographs, "max_epochs": 1}).items()]
    tool = str(DEMO.parents[3] / "tools/train.py")
    program = f"import resource, runpy, sys; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit})); "
    program += f"sys.argv = sys.argv[1:]; runpy.run_path({tool!r}, run_name='__main__')"
    command = [sys.executable, "-c", program, "train.py", str(DEMO), "--work_dir", str(tmp_path)]
    done = subprocess.run([*command, "--cfg-options", *options], capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    (line,) = [line for line in done.stderr.splitlines() if "train.py: error" in line]
    assert "File too large" in line and str(tmp_path) in line and "make room" in line
    assert not list(tmp_path.glob("*.pth")) and not list(tmp_path.glob(".*"))


def test_a_folder_that_cannot_be_made_is_one_line(radiographs, train_cli, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    options = [f"{key}={value}" for key, value in (TINY | {"data_root": radiographs}).items()]
    assert train_cli.main([str(DEMO), "--work_dir", str(tmp_path / "file/run"), "--cfg-options", *options]) == 1
    assert "cannot be written (Not a directory); make room or give another folder" in capsys.readouterr().err
