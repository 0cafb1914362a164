"""The command that adapts: done once, gone on with after Ctrl-C, mistakes are one line, and predict.py goes by it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from safetensors.torch import load_file
from stage2.drawn import drawn_scan
from stage2.toy_encoder import PLACE
from tool_modules import load_tool

from Stage2.adaptation.network_file import describe_file
from Stage2.models.registry import ENCODERS

ROOT = Path(__file__).resolve().parents[2]
SMALL = {"size": (40, 32, 3), "spacing": (5.0, 5.0, 10.0)}


@pytest.fixture
def case(tmp_path, monkeypatch) -> Path:
    """Two annotated scans and a query; the toy encoder is registered, and there is no starting network."""
    monkeypatch.setitem(ENCODERS, "toy", PLACE)
    monkeypatch.setattr("Stage2.adaptation.settings.STARTING_NETWORK", tmp_path / "none")
    for number, shift in enumerate((0.0, 4.0)):
        for name, image in zip(("scan", "mask"), drawn_scan(**SMALL, shift=shift), strict=True):
            sitk.WriteImage(image, str(tmp_path / f"{name}_{number}.nii.gz"))
    (tmp_path / "queries").mkdir()
    sitk.WriteImage(drawn_scan(**SMALL, shift=5.0, axes="RPI")[0], str(tmp_path / "queries" / "q.nii.gz"))
    return tmp_path


@pytest.fixture
def call(case, capsys, caplog):
    """Run a command on the case; gives the exit status and all that was said."""

    def run(*arguments: object, tool: str = "adapt") -> tuple[int, str]:
        caplog.clear()
        with caplog.at_level("INFO"):
            status = load_tool(tool).main(list(map(str, arguments)))
        said = capsys.readouterr().err + caplog.text
        assert "Traceback" not in said
        return status, said

    return run


def given(case: Path, *more: object, numbers=(0,), steps: object = 2) -> list[object]:
    pairs = [("--support", case / f"scan_{number}.nii.gz", case / f"mask_{number}.nii.gz") for number in numbers]
    fixed = ["--encoder", "toy", "--side", 32, "--batch", 2, "--steps", steps, "--out", case / "a.safetensors"]
    return [*(value for pair in pairs for value in pair), *fixed, *more]


def test_it_is_done_once_and_nothing_else_is_written_over(call, case):
    status, said = call(*given(case))
    assert (status, "2 steps" in said, "is taken for MR" in said) == (0, True, True)
    out = case / "a.safetensors"
    described = describe_file(out)
    assert (described["labels"], described["finished"], described["steps"]) == ([2, 3], True, 2)
    assert described["names"] == ["label 2", "label 3"]
    assert not list(case.glob(".*"))
    before = out.read_bytes()
    status, said = call(*given(case))
    assert (status, "done before (2 steps)" in said) == (0, True)
    status, said = call(*given(case, steps=3))
    assert (status, "is adapted to something else, or otherwise" in said) == (1, True)
    assert out.read_bytes() == before
    assert call(*given(case, "--force", steps=3))[0] == 0
    assert describe_file(out)["steps"] == 3
    for content in (b"", b"patient"):
        out.write_bytes(content)
        for force in ([], ["--force"]):
            status, said = call(*given(case, *force))
            assert (status, "was not written by this program and is not written over" in said) == (1, True)
            assert out.read_bytes() == content


def test_interrupted_it_leaves_a_file_to_use_and_goes_on(call, case, monkeypatch):
    assert call(*given(case, steps=4))[0] == 0
    out = case / "a.safetensors"
    whole = load_file(out)
    out.unlink()

    def stop(reporter, progress):
        if progress.steps == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("Stage2.inference.adapt_job._Reporter.__call__", stop)
        status, said = call(*given(case, steps=4))
    assert (status, "interrupted; run it again to go on" in said) == (130, True)
    assert (describe_file(out)["steps"], describe_file(out)["finished"]) == (2, False)
    status, said = call(*given(case, steps=4))
    assert (status, "going on after step 2" in said) == (0, True)
    assert describe_file(out)["finished"]
    assert all(torch.equal(value, whole[key]) for key, value in load_file(out).items())
    assert not list(case.glob(".*"))


def test_ctrl_c_of_the_process(case):
    code = (
        f"import sys; sys.path[:0] = ['tools', 'tests']; from Stage2.models.registry import ENCODERS; "
        f"ENCODERS['toy'] = {PLACE!r}; import adapt; sys.exit(adapt.main(sys.argv[1:]))"
    )
    arguments = [str(value) for value in given(case, "--start", "random", steps=10**6)]
    out, said = case / "a.safetensors", case / "said.txt"
    for expected in ("start: random weights", "going on after step"):
        with said.open("w") as stream:
            process = subprocess.Popen(
                [sys.executable, "-c", code, *arguments], cwd=ROOT, stderr=stream,
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # in the background it is ignored
            )  # fmt: skip
        waited = time.monotonic()
        while expected not in said.read_text() and time.monotonic() - waited < 300:
            time.sleep(0.1)
        time.sleep(0.5)
        os.kill(process.pid, signal.SIGINT)
        assert process.wait(300) == 130
        assert expected in said.read_text() and "Traceback" not in said.read_text()
        described = describe_file(out)
        assert described["steps"] > 0 and not described["finished"]


def test_several_supports_with_their_slices_and_unlabelled_scans(call, case):
    arguments = ["--annotated-slices", "drawn", "--annotated-slices", "1,2", "--unlabelled", case / "queries"]
    assert call(*given(case, *arguments, numbers=(0, 1)))[0] == 0
    described = describe_file(case / "a.safetensors")
    assert (len(described["supports"]), described["unlabelled_scans"]) == (2, 1)
    assert described["identity"]["annotated"] == ["drawn", [0, 1]]
    status, said = call(*given(case, *arguments[:2], numbers=(0, 1)))
    assert (status, "1 times --annotated-slices for 2 supports" in said) == (1, True)


def test_lower_bounds_come_from_examples_that_are_left_out(call, case, monkeypatch):
    arguments = given(case, "--lower-bound", numbers=(0, 1, 0, 1), steps=1)
    assert call(*arguments)[0] == 0
    errors = describe_file(case / "a.safetensors")["reference"]["errors"]
    assert [len(own) for own in errors] == [4, 4]
    status, said = call(*given(case, "--lower-bound", "--force"))
    assert (status, "--lower-bound needs 4 annotated scans or more, and there are 1" in said) == (1, True)

    def stop(reporter, progress):
        reporters.add(reporter)
        if len(reporters) == 3:
            raise KeyboardInterrupt

    reporters = set()
    monkeypatch.setattr("Stage2.inference.adapt_job._Reporter.__call__", stop)
    status, said = call(*arguments, "--force")
    assert (status, "interrupted; run it again to go on" in said, len(reporters)) == (130, True, 3)


def test_a_lower_bound_does_without_an_organ_that_one_example_alone_shows(call, case):
    mask = sitk.ReadImage(str(case / "mask_1.nii.gz"))
    sitk.WriteImage(mask * sitk.Cast(mask == 2, mask.GetPixelID()), str(case / "mask_1.nii.gz"))
    arguments = given(case, "--lower-bound", "--labels", "2,3", numbers=(0, 1, 1, 1), steps=1)
    assert call(*arguments)[0] == 0
    assert len(describe_file(case / "a.safetensors")["reference"]["errors"][0]) == 4


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (["--support", "{case}/absent.nii.gz", "{case}/mask_0.nii.gz"], "absent.nii.gz does not exist"),
        (["--support", "{case}/scan_1.nii.gz", "{case}/absent.nii.gz"], "absent.nii.gz does not exist"),
        (["--support", "{case}/scan_1.nii.gz", "{case}/other_grid.nii.gz"], "both must lie on one grid"),
        (["--support", "{case}/scan_1.nii.gz", "{case}/empty.nii.gz"], "empty.nii.gz is empty: it marks no voxel"),
        (["--support", "{case}/nan.nii.gz", "{case}/mask_0.nii.gz"], "not finite"),
        (["--support", "{case}/scan_1.nii.gz", "{case}/cut.nii.gz"], "is truncated or damaged"),
        (["--labels", "7"], "label 7 is not in"),
        (["--out", "{case}/a.pth"], "a.pth must be the name of a .safetensors file"),
        (["--out", "{case}/cut.nii.gz/a.safetensors"], "could not be written"),
        (["--start", "{case}/cut.nii.gz"], "not a readable checkpoint"),
        (["--start", "{case}/damaged.safetensors"], "not a readable checkpoint"),
        (["--start", "{case}/absent.pth"], "absent.pth"),
        (["--start", "{case}/queries"], "expected snapshots/<step>.pth"),
        (["--unlabelled", "{case}/absent"], "absent does not exist"),
        (["--annotated-slices", "1,9"], "slice 9 of"),
        (["--side", "50"], "expected a multiple of 32"),
        (["--batch", "1"], "expected 2 or more slices"),
        (["--modality", "CT", "--dataset", "CHAOST2"], "contradict each other"),
        (["--device", "abacus"], "device=abacus is unknown"),
    ],
)
def test_mistakes_are_one_line(call, case, change, sentence):
    scan, mask = (nibabel.load(case / f"{name}_0.nii.gz") for name in ("scan", "mask"))
    voxels = scan.get_fdata(dtype=np.float32)
    voxels[3, 4, 1] = np.nan
    nibabel.save(nibabel.Nifti1Image(voxels, scan.affine), case / "nan.nii.gz")
    nibabel.save(nibabel.Nifti1Image(np.zeros(mask.shape, np.uint8), mask.affine), case / "empty.nii.gz")
    nibabel.save(nibabel.Nifti1Image(np.asarray(mask.dataobj)[:-1], mask.affine), case / "other_grid.nii.gz")
    (case / "cut.nii.gz").write_bytes((case / "scan_0.nii.gz").read_bytes()[:300])
    (case / "damaged.safetensors").write_bytes(b"\x10\x00\x00\x00\x00\x00\x00\x00{damaged")
    status, said = call(*given(case, *(value.format(case=case) for value in change)))
    assert status == 1
    lines = [line for line in said.splitlines() if line.startswith("adapt.py: error: ")]
    assert len(lines) == 1 and sentence in lines[0]
    assert not list(case.glob("*a.safetensors"))


@pytest.mark.parametrize(
    ("option", "value"), [("--annotated-slices", "0"), ("--labels", "0"), ("--minutes", "nan"), ("--encoder", "none")]
)
def test_values_that_are_none(call, case, capsys, option, value):
    with pytest.raises(SystemExit):
        call(*given(case, option, value))
    assert "error: argument" in capsys.readouterr().err


def test_what_was_adapted_segments_without_a_support(call, case):
    assert call(*given(case, steps=3))[0] == 0
    out = case / "out"
    arguments = ["--checkpoint", case / "a.safetensors", "--query", case / "queries", "--out", out, "--report"]
    status, said = call(*arguments, "--suggest", "--probabilities", tool="predict")
    assert status == 0
    assert "annotate next: " in said
    query, mask = (nibabel.load(path) for path in (case / "queries" / "q.nii.gz", out / "q_mask.nii.gz"))
    np.testing.assert_array_equal(mask.affine, query.affine)
    record = json.loads((out / "q.json").read_text())
    assert list(record["labels"]) == ["2", "3"]
    assert len(record["files"]) == 5
    assert "adapted network" in (out / "q.html").read_text()
    status, said = call(*arguments, "--suggest", "--probabilities", tool="predict")
    assert (status, "q: done before" in said) == (0, True)
    status, said = call(*arguments, "--label", "9", tool="predict")
    assert (status, "label 9 was not adapted to" in said) == (1, True)


def test_predict_adapts_once_and_keeps_the_network(call, case, monkeypatch):
    support = ["--support", case / "scan_0.nii.gz", case / "mask_0.nii.gz", "--modelname", "toy"]
    arguments = [*support, "--query", case / "queries", "--out", case / "out", "--adapt", 0.02]
    arguments += ["--cache", case / "cache"]
    status, said = call(*arguments, tool="predict")
    assert (status, (case / "out" / "q_mask.nii.gz").is_file()) == (0, True)
    (kept,) = (case / "cache" / "adapted").glob("*.safetensors")
    record = json.loads((case / "out" / "q.json").read_text())
    assert record["settings"]["approach"] == "adapted" and record["settings"]["start"] == "random"

    monkeypatch.setattr("Stage2.inference.adapting.adapt_network", lambda *_, **__: pytest.fail("it adapts again"))
    status, said = call(*arguments, "--force", tool="predict")
    assert (status, "done before" in said) == (0, True)
    with pytest.raises(pytest.fail.Exception, match="it adapts again"):
        call(*arguments, "--force", "--label", "2", tool="predict")
    kept.write_bytes(kept.read_bytes()[:1000])
    with pytest.raises(pytest.fail.Exception, match="it adapts again"):
        call(*arguments, "--force", tool="predict")


def test_predict_interrupted_while_it_adapts_goes_on(call, case, monkeypatch):
    support = ["--support", case / "scan_0.nii.gz", case / "mask_0.nii.gz", "--modelname", "toy"]
    arguments = [*support, "--query", case / "queries", "--out", case / "out", "--adapt", 0.02]
    arguments += ["--cache", case / "cache"]

    def stop(reporter, progress):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("Stage2.inference.adapt_job._Reporter.__call__", stop)
        status, said = call(*arguments, tool="predict")
        assert (status, "interrupted; run it again to go on" in said) == (130, True)
        status, said = call(*arguments, "--no-cache", tool="predict")
        assert (status, "interrupted; run it again to go on" in said) == (130, True)
    status, said = call(*arguments, tool="predict")
    assert (status, "going on after step 1" in said) == (0, True)
