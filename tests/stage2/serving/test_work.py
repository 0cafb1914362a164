"""What the process of a job does: prototypes of a snapshot, a scan that fails is told of, time that is left."""

import json
import time
from dataclasses import asdict

import numpy as np
import SimpleITK as sitk
from stage2.serving.served import fill

from Stage2.inference.request import Preparation, Request
from Stage2.serving import work
from Stage2.serving.work import SEGMENTING, Told, do


def test_a_snapshot_gives_prototypes_and_a_bad_scan_does_not_stop_the_others(tmp_path, snapshot):
    folder = fill(tmp_path / "scans")
    (folder / "b.nii.gz").write_bytes((folder / "b.nii.gz").read_bytes()[:500])
    look = {
        "supports": [[str(folder / "a.nii.gz"), str(tmp_path / "mask.nii.gz")]], "annotated": [None],
        "preparation": asdict(Preparation(modality="MR")), "start": str(snapshot), "minutes": None, "steps": 1,
        "out": str(tmp_path / "look.safetensors"),
    }  # fmt: skip
    plan = {
        "queries": [str(folder / "b.nii.gz"), str(folder / "c.nii.gz")], "dataset": None, "look": look, "adapt": None,
        "network": None, "look_out": str(tmp_path / "preview"), "out": str(tmp_path / "masks"),
    }  # fmt: skip
    told = Told(tmp_path / "progress.json")
    assert do(plan, told)
    said = json.loads((tmp_path / "progress.json").read_text())
    assert said["looked"] == plan["queries"]
    assert list(said["failed"]) == [str(folder / "b.nii.gz")]
    assert "truncated" in said["failed"][str(folder / "b.nii.gz")]
    record = json.loads((tmp_path / "preview" / "c.json").read_text())
    assert record["settings"]["approach"] == "prototypes"
    mask = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "preview" / "c_mask.nii.gz")))
    assert set(np.unique(mask)) <= {0, 2, 3}
    assert not (tmp_path / "look.safetensors").exists()


def test_a_scan_that_fails_at_first_and_then_does_not_is_none_that_failed(tmp_path, monkeypatch):
    class Job:
        """Of two scans, which fail where that is said."""

        queries, failing = ("a", "b"), True

        def __init__(self, request):
            pass

        def run(self, progress):
            records = [{"query": name, **({"error": "no"} if Job.failing else {})} for name in self.queries]
            assert len(list(progress(enumerate(records)))) == 2

    monkeypatch.setattr(work, "PredictionJob", Job)
    told, request = Told(tmp_path / "progress.json"), Request(out=tmp_path)
    work._predict(request, told, "looked")
    assert told.content["failed"] == {"a": "no", "b": "no"}
    Job.failing = False
    work._predict(request, told, "done")
    assert json.loads((tmp_path / "progress.json").read_text())["failed"] == {}


def test_the_time_that_is_left_follows_from_the_last_part(tmp_path, monkeypatch):
    told, now = Told(tmp_path / "progress.json"), [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    told.stage(SEGMENTING)
    now[0] = 150.0  # of loading
    told.share(0.4)
    assert told.content["seconds_left"] is None
    now[0] = 160.0
    told.share(0.6)
    assert told.content["seconds_left"] == 20.0
    now[0] = 170.0
    told.share(0.8)
    assert told.content["seconds_left"] == 10.0
