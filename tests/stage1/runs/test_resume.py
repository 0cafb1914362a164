"""Going on with interrupted runs: equal to uninterrupted ones, after kill -9 too, and refused where they cannot be."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from bad_weights import BY_THE_READER, COMPLAINTS, write_bad_file
from mmengine.config import Config
from stage1.comparison import assert_same_run

from Stage1.models.densecl import DenseCL
from Stage1.runs import resume, training
from Stage1.weights.checkpoints import read_checkpoint, write_checkpoint

ROOT = Path(__file__).resolve().parents[3]
DEMO = ROOT / "configs/selfsup/densecl/densecl_demo.py"

# The second checkpoint is half written when the process is killed.
KILLED = """
    import os, signal, sys
    sys.path.insert(0, "tools")
    import train
    from Stage1.files import whole_file
    from Stage1.runs import storage

    put = storage.AtomicLocalBackend.put

    def put_half(self, content, path):
        if path.endswith("epoch_2.pth"):
            with whole_file(path) as temporary, temporary.open("wb") as file:
                file.write(content[: len(content) // 2])
                file.flush()
                os.kill(os.getpid(), signal.SIGKILL)
        put(self, content, path)

    storage.AtomicLocalBackend.put = put_half
    sys.exit(train.main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def finished(run_tiny, tmp_path_factory):
    """Folder of a run of two epochs, not interrupted."""
    work_dir = tmp_path_factory.mktemp("finished")
    run_tiny(work_dir)
    return work_dir


@pytest.fixture
def interrupted(finished, tmp_path):
    """A folder with the first checkpoint of the finished run alone."""
    (tmp_path / "epoch_1.pth").write_bytes((finished / "epoch_1.pth").read_bytes())
    return tmp_path


def assert_as_uninterrupted(finished, work_dir):
    assert_same_run(read_checkpoint(finished / "epoch_2.pth"), read_checkpoint(work_dir / "epoch_2.pth"))


def test_a_run_resumed_from_a_file_ends_as_if_it_had_not_been_interrupted(finished, run_tiny, tmp_path):
    torch.rand(3)  # the process that resumes has another history
    run_tiny(tmp_path, "--resume_from", str(finished / "epoch_1.pth"))
    assert not (tmp_path / "epoch_1.pth").exists()
    assert_as_uninterrupted(finished, tmp_path)


def test_auto_resume_skips_what_a_killed_writer_left(finished, interrupted, run_tiny, caplog):
    content = (finished / "epoch_2.pth").read_bytes()
    (interrupted / "epoch_2.pth").write_bytes(content[: len(content) // 2])
    (interrupted / "epoch_10.pth").write_bytes(b"")
    (interrupted / ".epoch_2.123.partial.pth").write_bytes(b"half")
    (interrupted / "last_checkpoint").write_text(str(interrupted / "epoch_2.pth"))
    run_tiny(interrupted, "--auto-resume", "--pretrained", "absent.pth")
    assert not list(interrupted.glob(".epoch*"))
    assert "Skipping epoch_2.pth: found a file that is not a readable checkpoint" in caplog.text
    assert "Skipping epoch_10.pth: found an empty file" in caplog.text
    assert_as_uninterrupted(finished, interrupted)


def test_a_run_killed_while_it_writes_goes_on_from_the_last_whole_checkpoint(finished, radiographs, run_tiny, tmp_path):
    settings = [
        "max_epochs=2",
        "batch_size=4",
        "image_size=32",
        "queue_length=16",
        "num_workers=0",
        "checkpoint_interval=1",
    ]
    arguments = [str(DEMO), "--auto-resume", "--work_dir", str(tmp_path), "--cfg-options", f"data_root={radiographs}"]
    threads = str(torch.get_num_threads())  # sums depend on it
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(KILLED), *arguments, *settings], cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert sorted(path.name for path in tmp_path.glob("epoch*.pth")) == ["epoch_1.pth"]
    (unfinished,) = tmp_path.glob(".epoch_2.*.partial.pth")
    assert unfinished.stat().st_size > 1000
    run_tiny(tmp_path, "--auto-resume")
    assert not unfinished.exists()
    assert_as_uninterrupted(finished, tmp_path)


def test_a_finished_run_says_so_and_ends_well(finished, radiographs, train_cli, capsys):
    before = sorted(finished.rglob("*"))
    options = [f"data_root={radiographs}", "max_epochs=2", "batch_size=4", "image_size=32", "queue_length=16"]
    assert train_cli.main([str(DEMO), "--work_dir", str(finished), "--auto-resume", "--cfg-options", *options]) == 0
    assert "the run is finished" in capsys.readouterr().out
    assert sorted(finished.rglob("*")) == before


def test_what_cannot_continue_is_refused(finished, run_tiny, tmp_path):
    arguments = ("--resume_from", str(finished / "epoch_1.pth"))
    with pytest.raises(ValueError, match=r"found --seed 5, but .* continues a run with seed 0"):
        run_tiny(tmp_path, *arguments, "--seed", "5")
    with pytest.raises(ValueError, match=r"found max_epochs 4, .* planned for 2 epochs .* max_epochs=2, or start"):
        run_tiny(tmp_path, *arguments, max_epochs=4)
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match=r"that do not fit the model \(2 of another shape: queue \("):
        run_tiny(tmp_path, *arguments, queue_length=32)
    with pytest.raises(ValueError, match=r"found 6 steps per epoch, but .* was written after 3 steps in 1 epochs"):
        run_tiny(tmp_path, *arguments, batch_size=2)


def test_changes_that_alter_the_end_are_named(finished, run_tiny, tmp_path):
    run_tiny(tmp_path, "--resume_from", str(finished / "epoch_1.pth"), lr=0.1, num_workers=1, log_interval=3)
    (log,) = tmp_path.glob("*/*.log")
    warned = [line.partition("differ: ")[2] for line in log.read_text().splitlines() if "Not as in the run" in line]
    assert warned == ["optim_wrapper.optimizer.lr: 0.0375 -> 0.1 (no effect: the checkpoint's is kept)"]


def test_the_config_of_a_resumed_run_starts_a_new_one(radiographs, train_cli, tmp_path, caplog):
    config = tmp_path / "densecl_demo.py"
    config.write_text(f'_base_ = ["{DEMO}"]\nload_from = "{tmp_path}/elsewhere/epoch_1.pth"\nresume = True\n')
    options = [str(config), "--cfg-options", f"data_root={radiographs}", "batch_size=4", "queue_length=16"]
    for further in ([], ["--auto-resume"]):
        cfg = training.plan_run(train_cli.parse_args([*options, *further]))
        assert (cfg.load_from, cfg.resume) == (None, False)
    assert caplog.text.count("load_from and resume in") == 1, "the second asks for what is in its own folder"


def test_a_new_run_beside_old_checkpoints_is_warned_about(interrupted, caplog):
    assert resume.choose_checkpoint(interrupted, auto_resume=False) is None
    assert "epoch_1.pth of an older one; --auto-resume would take that" in caplog.text
    assert resume.choose_checkpoint(interrupted / "absent", auto_resume=True) is None


def test_checkpoints_are_ordered_by_number(tmp_path):
    for name in ("epoch_9.pth", "epoch_10.pth", "epoch_2.pth", "epoch_x.pth", "epoch_11.pth.old"):
        (tmp_path / name).touch()
    assert [path.name for path in resume.numbered_checkpoints(tmp_path)] == [
        "epoch_10.pth",
        "epoch_9.pth",
        "epoch_2.pth",
    ]


def test_resuming_needs_a_whole_checkpoint_of_the_same_model():
    model = DenseCL(depth=18, queue_length=4)
    state = model.state_dict()
    with pytest.raises(ValueError, match=r"found no optimizer, param_schedulers, meta, message_hub in x\.pth.*--pretr"):
        resume.check_complete({"state_dict": state}, "x.pth")
    whole = {part: {} for part in resume.NEEDED} | {"state_dict": state}
    resume.check_complete(whole, "x.pth")
    with pytest.raises(ValueError, match=r"found code in x\.pth \(meta\.config\)"):
        resume.check_complete(whole | {"meta": {"config": "import os"}}, "x.pth")
    resume.check_model(state, whole, "x.pth")
    other = DenseCL(depth=18, queue_length=8).state_dict()
    with pytest.raises(ValueError, match=r"in x\.pth that do not fit the model \(2 of another shape: queue \("):
        resume.check_model(other, whole, "x.pth")


def test_settings_are_read_without_running_them(tmp_path):
    mark = tmp_path / "mark"
    text = f"a = dict(b=[1, (2.5, None)], c=dict(d='x'))\nopen({str(mark)!r}, 'w')\ne = {{'f-g': True}}\nh = open('i')"
    assert resume.flat_settings(text) == {
        "a.b.0": 1, "a.b.1.0": 2.5, "a.b.1.1": None, "a.c.d": "x", "e.f-g": True
    }  # fmt: skip
    assert not mark.exists()
    assert resume.flat_settings("not python at all") == {}
    own = resume.flat_settings(Config.fromfile(DEMO).pretty_text)
    assert (own["model.depth"], own["train_cfg.max_epochs"]) == (18, 3)


def test_an_unreadable_folder_of_checkpoints_starts_anew(tmp_path):
    write_checkpoint({"state_dict": {}}, tmp_path / "epoch_3.pth")
    (tmp_path / "epoch_4.pth").symlink_to("gone.pth")
    assert resume.newest_checkpoint(tmp_path) is None


@pytest.mark.parametrize("kind", COMPLAINTS)
@pytest.mark.parametrize("option", ["--resume_from", "--pretrained"])
def test_what_is_no_weights_is_one_line(option, kind, radiographs, train_cli, tmp_path, capsys):
    if option == "--pretrained" and kind in BY_THE_READER[1:]:
        pytest.skip("read by the same reader, after seconds of building")
    (tmp_path / "in").mkdir()
    bad = write_bad_file(kind, tmp_path / "in", {"conv1.weight": torch.ones(64, 3, 7, 7)})
    small = ["batch_size=4", "queue_length=16", "depth=18", "num_workers=0", "image_size=32"]
    arguments = [str(DEMO), option, str(bad), "--work_dir", str(tmp_path / "out"), "--cfg-options"]
    assert train_cli.main([*arguments, f"data_root={radiographs}", *small]) == 1
    (line,) = (line for line in capsys.readouterr().err.splitlines() if "error: " in line)
    assert COMPLAINTS[kind] in line
    assert str(bad) in line
