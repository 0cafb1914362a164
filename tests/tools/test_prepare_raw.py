"""From a download to a folder for training on the command line, in one go and step by step."""

import json
import logging
from pathlib import Path

import pytest
from stage2.preparation.drawn_archives import digest, write_chaos, write_sabs, zip_folder
from tool_modules import load_tool

from Stage2.datasets.volumes import list_scans, read_class_map
from Stage2.io.nifti import read_header

ROOT = Path(__file__).resolve().parents[2]

CUSTOM = """
name: mine
modality: CT
classes: {background: 0, a: 1, b: 2, c: 3, d: 4}
evaluated: [1, 2]
label_sets: {0: [1]}
folds: [0, 1, 2, 3]
foreground_threshold: 0.0001
preparation:
  images: Training/img/img{scan}.nii.gz
  labels: Training/label/label{scan}.nii.gz
  window: [-125, 275]
  border: 32
  coarsening: 1.75
  crop: none
"""


@pytest.fixture(scope="module")
def run():
    module = load_tool("prepare_data")

    def main(*arguments: object, workers: int = 1) -> int:
        return module.main([*map(str, arguments), "--workers", str(workers)])

    return main


@pytest.fixture(autouse=True)
def at_info(caplog):
    caplog.set_level(logging.INFO)


@pytest.fixture(scope="module")
def chaos(tmp_path_factory) -> Path:
    return write_chaos(tmp_path_factory.mktemp("chaos"), (5,))


def test_one_command_equals_the_steps_from_folder_and_archive(run, chaos, tmp_path, caplog):
    whole, converted, steps = (tmp_path / name for name in ("whole", "converted", "steps"))
    assert run("chaos", zip_folder(chaos, tmp_path / "CHAOS_Train_Sets.zip"), whole) == 1  # a scan of twenty
    (problem,) = json.loads((whole / "check.json").read_text())["problems"]
    assert "CHAOST2 has folds for 20 scans, but 1 were found" in problem
    assert "found 1 scan(s), but the folds of CHAOST2 are for 20" in caplog.text
    assert "1 scan(s) and superpixels of 1 made, 0 there already; class maps made" in caplog.text
    for command in (
        ("convert", "chaos", chaos, converted),
        ("normalise", "chaos", converted, steps),
        ("classmap", steps, "--dataset", "CHAOST2"),
        ("superpixels", steps, "--dataset", "CHAOST2"),
    ):
        assert run(*command) == 0, command
    assert sorted(digest(whole)) == [
        "classmap_1.json",
        "classmap_100.json",
        *(f"{kind}_5.nii.gz" for kind in ("fgmask", "image", "label", "superpix-MIDDLE")),
    ]
    assert digest(whole) == digest(steps)
    assert read_header(converted / "image_5.nii.gz").size == (6, 64, 64)
    assert list_scans(whole) == ["5"] and read_class_map(whole, 1)["SPLEEN"]["5"]

    caplog.clear()
    before = {path.name: path.stat().st_mtime_ns for path in whole.glob("*.nii.gz")}
    assert run("chaos", chaos, whole) == 1
    assert "0 scan(s) and superpixels of 0 made, 1 there already; class maps kept" in caplog.text
    assert {path.name: path.stat().st_mtime_ns for path in whole.glob("*.nii.gz")} == before


def test_a_file_with_the_settings_of_sabs_does_the_same(run, tmp_path, caplog):
    tree = write_sabs(tmp_path / "down", (1, 2, 21), depth=2)
    file = tmp_path / "mine.yaml"
    file.write_text(CUSTOM)
    assert run("custom", file, tree, tmp_path / "mine") == 0
    assert json.loads((tmp_path / "mine/check.json").read_text())["sound"]
    assert len(list((tmp_path / "mine/contact_sheets").glob("*.png"))) == 3
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "mine").rglob("*")}
    assert run("custom", file, tree, tmp_path / "mine") == 0
    assert "mine was sound when it was checked, and no file has changed since" in caplog.text
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "mine").rglob("*")} == before
    label = tmp_path / "mine/label_2.nii.gz"
    label.write_bytes(label.read_bytes()[:-20])
    assert run("custom", file, tree, tmp_path / "mine") == 1
    assert run("custom", file, tree, tmp_path / "mine", "--force") == 0
    assert run("convert", "sabs", tree, tmp_path / "converted") == 0
    assert run("normalise", "sabs", tmp_path / "converted", tmp_path / "sabs") == 0
    theirs, ours = digest(tmp_path / "sabs"), digest(tmp_path / "mine")
    for place, number in enumerate((1, 2, 21)):
        for kind in ("image", "label"):
            assert theirs[f"{kind}_{place}.nii.gz"] == ours[f"{kind}_{number}.nii.gz"]
    assert json.loads(ours["classmap_1.json"])["a"] == {"1": [0, 1], "2": [0, 1], "21": [0, 1]}


READING = "  label_values: {1: 1, 2: 2, 3: 3, 4: 4}\n  orientation: LAS\n"


def test_other_label_values_and_other_axes_are_refused(run, tmp_path, capsys):
    tree, file, out = write_sabs(tmp_path / "down", (1, 2, 21), side=32), tmp_path / "mine.yaml", tmp_path / "out"
    file.write_text(CUSTOM + READING)
    assert run("convert", file, tree, out) == run("convert", file, tree, out) == 0
    values = "label_values {'0': 0, '1': 1, '2': 2, '3': 3, '4': 4}, but asked for is {'0': 0, '1': 2, '2': 1,"
    axes = "orientation LAS, but asked for is RAI; write to another folder"
    for old, new, sentence in (("1: 1, 2: 2", "1: 2, 2: 1", values), ("LAS", "RAI", axes)):
        file.write_text(CUSTOM + READING.replace(old, new))
        assert run("convert", file, tree, out) == 1
        assert f"was made with {sentence}" in capsys.readouterr().err


def test_a_folder_that_does_not_tell_label_values_and_axes(run, tmp_path, capsys):
    """As earlier versions wrote them: whether they are these is not known, unless the file names none."""
    tree, file, out = write_sabs(tmp_path / "down", (1, 2, 21), side=32), tmp_path / "mine.yaml", tmp_path / "out"
    file.write_text(CUSTOM)
    assert run("convert", file, tree, out) == 0
    manifest = json.loads((out / "manifest.json").read_text())
    del manifest["parameters"]["orientation"], manifest["parameters"]["label_values"]
    (out / "manifest.json").write_text(json.dumps(manifest))
    assert run("convert", file, tree, out) == 0
    file.write_text(CUSTOM + READING)
    assert run("convert", file, tree, out) == 1
    assert "was made with orientation unknown, but asked for is LAS; write to" in capsys.readouterr().err


def test_other_folds_are_checked_again_where_there_are_no_labels(run, tmp_path, caplog):
    tree, file, out = write_sabs(tmp_path / "down", (1, 2, 21)), tmp_path / "mine.yaml", tmp_path / "out"
    text = "".join(line for line in CUSTOM.splitlines(keepends=True) if "labels:" not in line)
    file.write_text(text)
    assert run("custom", file, tree, out) == 0
    caplog.clear()
    file.write_text(text.replace("folds: [0, 1, 2, 3]", "folds: [0, 1, 2, 3, 4]"))
    assert run("custom", file, tree, out) == 1
    assert "mine has folds for 4 scans, but 3 were found" in caplog.text


def test_a_dry_run_writes_nothing(run, chaos, tmp_path, caplog):
    assert run("chaos", chaos, tmp_path / "out", "--dry-run", "--drop-blank-slice") == 0
    for part in ("1 scan(s) to make of 1", "spacing: [1.25, 1.25, 7.7]", "drop_blank_slice: True", "scan 5 from 12"):
        assert part in caplog.text
    assert "Nothing was written" in caplog.text and "window" not in caplog.text
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("chaos nowhere out", "nowhere does not exist; expected the downloaded archive"),
        ("sabs {chaos} out", "has annotated scans in none; expected RawData.zip"),
        ("chaos {chaos}/Train_Sets/CT out", "no annotated T2-SPIR scan; expected CHAOS_Train_Sets.zip"),
        ("custom mine.yaml {chaos} out", "mine.yaml is no file; expected a data set file"),
        ("convert brain {chaos} out", "brain is unknown; choose one of"),
        ("convert examples/datasets/heart.yaml {chaos} out", "preparation is missing"),
        ("normalise chaos {chaos} out", "has no image_<id>.nii.gz"),
        ("classmap {chaos} --dataset SABS", "has no image_<id>.nii.gz"),
    ],
)
def test_errors_are_one_line(run, chaos, tmp_path, monkeypatch, capsys, command, message):
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    assert run(*command.format(chaos=chaos).split()) == 1
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_custom_wants_a_file(run, chaos, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        run("custom", "chaos", chaos, tmp_path / "out")
    assert stop.value.code == 2 and "found chaos, expected the name of a .yaml file" in capsys.readouterr().err
