"""The command: a folder of queries with a bad file among them, what is done is kept, mistakes are one line."""

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from stage2.drawn import drawn_scan
from tool_modules import ROOT, load_tool

from Stage2.io.scans import ScanFile
from Stage2.models.few_shot import FewShotSegmenter
from Stage2.models.snapshots import save_snapshot


@pytest.fixture(scope="module")
def tool():
    return load_tool("predict")


@pytest.fixture(scope="module")
def case(toy, tmp_path_factory) -> Path:
    """A run folder of a small network's and a ResNet-18's snapshot, a support, two queries, one of them truncated."""
    folder = tmp_path_factory.mktemp("case")
    (folder / "run" / "snapshots").mkdir(parents=True)
    for name, encoder in (("5", toy), ("resnet", "dlfcn_res18")):
        torch.manual_seed(0)
        torch.save(FewShotSegmenter(encoder).state_dict(), folder / "run" / "snapshots" / f"{name}.pth")
    (folder / "run" / "config.json").write_text(json.dumps({"dataset": "CHAOST2_Superpix", "clsname": "grid_proto"}))
    small = {"size": (80, 64, 3), "spacing": (2.5, 2.5, 10.0)}
    for name, image in zip(("scan", "mask"), drawn_scan(**small), strict=True):
        sitk.WriteImage(image, str(folder / f"{name}.nii.gz"))
    (folder / "queries").mkdir()
    (folder / "truth").mkdir()
    scan, mask = drawn_scan(**small, shift=5.0, axes="RPI")
    sitk.WriteImage(scan, str(folder / "queries" / "image_1.nii.gz"))
    for number in (1, 2):
        sitk.WriteImage(mask, str(folder / "truth" / f"label_{number}.nii.gz"))
    whole = (folder / "queries" / "image_1.nii.gz").read_bytes()
    (folder / "queries" / "image_2.nii.gz").write_bytes(whole[: len(whole) // 2])
    return folder


@pytest.fixture
def call(tool, case, capsys, caplog):
    """Run the command on the case; gives the exit status and all that was said."""

    def run(*arguments: object, query: str = "queries", label: str = "2,3") -> tuple[int, str]:
        caplog.clear()
        given = ["--support", case / "scan.nii.gz", case / "mask.nii.gz", "--query", case / query, "--label", label]
        given += ["--checkpoint", case / "run" / "snapshots" / "5.pth", "--method", "prototypes"]
        given += ["--cache", case / "cache", *arguments]
        with caplog.at_level("INFO"):
            status = tool.main(list(map(str, given)))
        return status, capsys.readouterr().err + caplog.text

    return run


def test_a_folder_with_a_bad_file_is_done_but_for_that_and_goes_on_where_it_stopped(call, case, tmp_path, monkeypatch):
    out = tmp_path / "out"
    wanted = ["--out", out, "--report", "--probabilities", "--evaluate", case / "truth"]
    status, said = call(*wanted)
    assert status == 1
    assert "image_2.nii.gz is truncated or damaged" in said
    assert "1 of 2 scans failed" in said
    assert "confidence in RK is low" in said  # an untrained network
    files = {path.name for path in out.iterdir()}
    maps = {f"image_1_label_{label}_probability.nii.gz" for label in (2, 3)}
    assert files == {"image_1.json", "image_1_mask.nii.gz", "image_1.html", "image_1.png", "results.csv", *maps}

    query, mask = (nibabel.load(path) for path in (case / "queries" / "image_1.nii.gz", out / "image_1_mask.nii.gz"))
    np.testing.assert_array_equal(mask.affine, query.affine)
    assert mask.shape == query.shape
    assert set(np.unique(np.asanyarray(mask.dataobj))) <= {0, 2, 3}
    probability = nibabel.load(out / "image_1_label_2_probability.nii.gz").get_fdata()
    assert (probability[np.asanyarray(mask.dataobj) == 2] > 0.5).all()
    record = json.loads((out / "image_1.json").read_text())
    drawn = np.asanyarray(nibabel.load(case / "truth" / "label_1.nii.gz").dataobj) == 2
    found = np.asanyarray(mask.dataobj) == 2
    assert record["labels"]["2"]["dice"] == pytest.approx(2 * (found & drawn).sum() / (found.sum() + drawn.sum()))
    assert record["labels"]["2"]["volume_ml"] == pytest.approx(found.sum() * 0.0625, abs=1e-3)
    assert record["settings"]["transform"]["modality"] == "MR"  # as the run folder tells
    with (out / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == ["RK", "LK", ""]
    assert "truncated" in rows[2]["error"]

    before = (out / "image_1_mask.nii.gz").stat().st_mtime_ns
    monkeypatch.setattr("Stage2.inference.network.load_network", lambda *_, **__: pytest.fail("the network was loaded"))
    status, said = call(*wanted, query="queries/image_1.nii.gz")
    assert (status, "image_1: done before" in said) == (0, True)
    assert (out / "image_1_mask.nii.gz").stat().st_mtime_ns == before
    for change in (["--clean-up"], ["--margin", "all"], ["--query-prototypes", "4"], ["--force"]):
        with pytest.raises(pytest.fail.Exception, match="the network was loaded"):
            call(*wanted, *change, query="queries/image_1.nii.gz")


def test_supports_are_no_queries_and_features_are_kept(call, case, tmp_path):
    shutil.copytree(case, tmp_path / "copy")
    (tmp_path / "copy" / "queries" / "image_2.nii.gz").unlink()
    own = tmp_path / "copy" / "queries"
    shutil.move(tmp_path / "copy" / "scan.nii.gz", own)
    shutil.move(tmp_path / "copy" / "mask.nii.gz", own)
    arguments = ["--support", own / "scan.nii.gz", own / "mask.nii.gz", "--query", own, "--parts", 2]
    arguments += ["--matching", "position", "--threads", torch.get_num_threads(), "--out", tmp_path / "out"]
    status, said = call(*arguments, "--warn-below", 0)
    assert status == 0
    assert "2 supports lie in" in said
    assert "is low" not in said
    assert len(list((case / "cache").iterdir())) == 1  # both supports are the same scan


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--checkpoint", "{case}/absent.pth"], "absent.pth does not exist; expected a snapshot"),
        (["--checkpoint", "{case}/mask.nii.gz", "--modality", "MR"], "no file of weights; copy or download it again"),
        (["--modelname", "dlfcn_res50"], "is a snapshot of toy and this network is dlfcn_res50"),
        (["--query", "{case}/absent.nii.gz"], "absent.nii.gz does not exist"),
        (["--query", "{case}/truth", "--out", "{case}/truth"], "is the folder of the queries; choose another"),
        (["--query", "{case}/run"], "holds no scan; expected .nii.gz"),
        (["--dataset", "SABS", "--modality", "MR"], "contradict each other"),
        (["--dataset", "CHAOS"], "dataset=CHAOS is unknown"),
        (["--ct-statistics", "1", "2"], "--ct-statistics MEAN STD is for CT"),
        (["--evaluate", "{case}/absent"], "--evaluate {case}/absent does not exist"),
        (["--evaluate", "{case}/mask.nii.gz"], "is one file for 2 queries; give a folder"),
        (["--axes", "XYZ"], "axes 'XYZ': expected three letters"),
        (["--support", "{case}/scan.nii.gz", "{case}/absent.nii.gz"], "absent.nii.gz does not exist"),
        (["--label", "7"], "label 7 is not in {case}/mask.nii.gz; it holds [2, 3]"),
        (["--device", "abacus"], "device=abacus is unknown"),
        (["--method", "adapted", "--query-prototypes", "4"], "--query-prototypes adds to prototypes; add --method"),
    ],
)
def test_mistakes_are_one_line(call, case, tmp_path, capsys, arguments, sentence):
    given = [str(argument).format(case=case) for argument in arguments]
    status, said = call("--out", tmp_path / "out", *given)
    assert status == 1
    assert sentence.format(case=case) in said
    assert "Traceback" not in said
    assert not list(tmp_path.glob("out/*.nii.gz"))


@pytest.mark.parametrize("head", ["anomaly", "anomaly_query"])
def test_adnets_heads_predict_with_prototypes_of_the_query(call, case, tmp_path, head):
    save_snapshot(FewShotSegmenter("dlfcn_res18", head), tmp_path / "5.pth")
    given = ["--checkpoint", tmp_path / "5.pth", "--modality", "MR", "--query-prototypes", 4, "--out", tmp_path / "out"]
    status, _ = call(*given, query="queries/image_1.nii.gz")
    assert status == 0
    record = json.loads((tmp_path / "out" / "image_1.json").read_text())
    assert record["settings"]["method"]["query_prototypes"] == 4


@pytest.fixture
def experts(case, tmp_path) -> Path:
    """A folder with an expert's masks: of the support, and of the query p2, in a folder of its own."""
    folder = tmp_path / "experts"
    folder.mkdir()
    (tmp_path / "queries").mkdir()
    shutil.copy(case / "queries" / "image_1.nii.gz", tmp_path / "queries" / "p2.nii.gz")
    shutil.copy(case / "truth" / "label_1.nii.gz", folder / "p2_mask.nii.gz")
    shutil.copy(case / "scan.nii.gz", folder / "s1.nii.gz")
    shutil.copy(case / "mask.nii.gz", folder / "s1_mask.nii.gz")
    return folder


def test_masks_of_experts_are_never_written_over(call, case, experts, tmp_path):
    """--out in the folder of the masks: truth, support's mask, a sidecar, a mask that no input names, another table."""
    shutil.copy(case / "queries" / "image_1.nii.gz", tmp_path / "queries" / "p3.nii.gz")
    shutil.copy(case / "queries" / "image_1.nii.gz", tmp_path / "queries" / "s1.nii.gz")
    shutil.copy(case / "queries" / "image_1.nii.gz", tmp_path / "queries" / "p4.nii.gz")
    (experts / "p4.json").write_text('{"EchoTime": 0.08}')
    shutil.copy(case / "truth" / "label_1.nii.gz", experts / "p3_mask.nii.gz")
    before = {path.name: path.read_bytes() for path in experts.iterdir()}
    support = ["--support", experts / "s1.nii.gz", experts / "s1_mask.nii.gz"]
    arguments = [*support, "--query", tmp_path / "queries", "--out", experts, "--evaluate", experts]
    status, said = call(*arguments)
    assert status == 1
    assert "4 of 4 scans failed" in said and "Traceback" not in said
    for name, reason in (("p2_mask.nii.gz", "is an input"), ("s1_mask.nii.gz", "is an input")):
        assert f"{experts / name} {reason} and is not written over" in said
    assert {name: (experts / name).read_bytes() for name in before} == before
    assert {path.name for path in experts.iterdir()} == {*before, "results.csv"}

    status, said = call(*arguments[:-2])
    assert status == 1
    assert f"{experts / 'p3_mask.nii.gz'} was not written by this program" in said
    assert f"{experts / 'p4.json'} was not written by this program" in said
    assert {name: (experts / name).read_bytes() for name in before} == before
    (experts / "results.csv").write_text("patient,age\n1,50\n")
    status, said = call(*arguments)
    assert (status, "is no table of this program" in said) == (1, True)


def test_what_this_program_wrote_is_written_anew(call, case, experts, tmp_path):
    """Also after a call that was killed between its files; files that are no longer asked for go."""
    out = tmp_path / "out"
    arguments = ["--query", tmp_path / "queries" / "p2.nii.gz", "--out", out]
    assert call(*arguments, "--probabilities", label="2")[0] == 0
    record = json.loads((out / "p2.json").read_text())
    assert record["files"] == ["p2_mask.nii.gz", "p2_label_2_probability.nii.gz"]
    assert call(*arguments, label="2,3")[0] == 0
    assert {path.name for path in out.iterdir()} == {"p2.json", "p2_mask.nii.gz", "results.csv"}
    (out / "p2.json").write_text(json.dumps({key: record[key] for key in ("query", "files")}))  # as when it was killed
    assert call(*arguments, label="2,3")[0] == 0
    status, said = call(*arguments, "--evaluate", out / "p2_mask.nii.gz", "--force")
    assert (status, "is an input and is not written over" in said) == (1, True)


@pytest.mark.parametrize(
    "error", [RuntimeError("itk::ERROR: ImageIO(0x1):\n cannot read"), AttributeError("x"), MemoryError(), KeyError(1)]
)
def test_whatever_a_library_raises_is_one_line_and_the_others_go_on(call, case, tmp_path, monkeypatch, error):
    read, names = ScanFile.read, ["a <b>.nii.gz", "=c $x$ 'd'.nii.gz", "z.nii.gz"]
    (tmp_path / "queries").mkdir()
    for name in names:
        shutil.copy(case / "queries" / "image_1.nii.gz", tmp_path / "queries" / name)

    def failing(scan):
        if scan.name == "a <b>":
            raise error
        return read(scan)

    monkeypatch.setattr(ScanFile, "read", failing)
    status, said = call("--query", tmp_path / "queries", "--out", tmp_path / "out", "--report", label="2")
    assert status == 1
    assert "1 of 3 scans failed" in said and "Traceback" not in said
    lines = [line for line in said.splitlines() if "a <b>" in line]
    assert lines and all("check the file, or leave it out" in line for line in lines)
    with (tmp_path / "out" / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [bool(row["error"]) for row in rows] == [False, True, False]
    assert all((tmp_path / "out" / name.replace(".nii.gz", ".png")).is_file() for name in names[1:])


def test_a_folder_that_cannot_be_written_is_one_line(call, case, tmp_path):
    (tmp_path / "file").touch()
    status, said = call("--query", case / "queries" / "image_1.nii.gz", "--out", tmp_path / "file" / "out")
    assert status == 1
    assert "could not be written" in said and "Traceback" not in said


def test_a_refused_query_imports_no_network(case, tmp_path):
    """Counted in modules: torch alone takes a second and 200 MB."""
    status, imported = imported_by(case, "--query", "absent", "--out", tmp_path / "out")
    assert status == 1
    assert not imported & {"torch", "torchvision", "matplotlib", "sacred", "tensorboard", "skimage", "mmengine", "cv2"}


def test_a_prediction_without_a_report_imports_only_what_it_needs(case, tmp_path):
    given = ("--query", case / "queries" / "image_1.nii.gz", "--out", tmp_path / "out", "--no-cache")
    status, imported = imported_by(case, *given)
    assert status == 0
    unwanted = {"matplotlib", "sacred", "tensorboard", "skimage", "mmengine", "scipy.stats", "pandas", "jinja2"}
    assert not imported & unwanted


def imported_by(case: Path, *arguments) -> tuple[int, set[str]]:
    """Exit status of the command in a process of its own, and the modules that it imported."""
    arguments += ("--support", case / "scan.nii.gz", case / "mask.nii.gz", "--label", "2", "--method", "prototypes")
    arguments += ("--checkpoint", case / "run" / "snapshots" / "resnet.pth")
    code = (
        "import sys; sys.path.insert(0, 'tools'); import predict; "
        f"print(predict.main({list(map(str, arguments))!r})); print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    status, modules = done.splitlines()[-2:]
    return int(status), set(modules.split())


def test_a_snapshot_without_its_run_needs_a_modality(call, case, tmp_path):
    shutil.copy(case / "run" / "snapshots" / "5.pth", tmp_path / "5.pth")
    status, said = call("--out", tmp_path / "out", "--checkpoint", tmp_path / "5.pth")
    assert status == 1
    assert "name --modality MR or CT, or a --dataset" in said


@pytest.mark.parametrize(
    ("option", "value", "sentence"),
    [("--label", value, "expected numbers such as 2 or 2,3") for value in ("0", "a", "2,", "-1")]
    + [("--query-prototypes", "-1", "found -1, expected a whole number from 0 up")],
)
def test_numbers_are_checked(call, tmp_path, capsys, option, value, sentence):
    with pytest.raises(SystemExit):
        call("--out", tmp_path, option, value)
    assert sentence in capsys.readouterr().err


def test_help(tool, capsys):
    with pytest.raises(SystemExit) as ending:
        tool.main(["--help"])
    assert ending.value.code == 0
    assert "--evaluate" in capsys.readouterr().out
