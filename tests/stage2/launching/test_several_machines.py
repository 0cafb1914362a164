"""Several machines: one that is lost, a scan that ends its process, a driver that is killed; files stay the same."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import SimpleITK as sitk
from examples.driving import bash, make_repository, wait_for
from stage2.conftest import make_cohort
from stage2.drawn import drawn_scan
from stage2.raylets import CODE, ROOT, Raylets, files_of, make_fragile, make_poisoned, raylets, toy_repository

from Stage1.cluster import Lost, count_places, run_jobs_over, stream_over_actors
from Stage2.datasets.catalog import get_dataset
from Stage2.inference import cohort
from Stage2.inference.job import PredictionJob
from Stage2.inference.request import Request
from Stage2.launching.graph import RunFailed, build_graph, run_graph
from Stage2.launching.launchers import RayLauncher, SerialLauncher
from Stage2.launching.plan import ExperimentLaunch
from Stage2.preparation.check.folder import check_folder
from Stage2.preparation.steps.superpixels import prepare_folder


@pytest.fixture(scope="module")
def shared():
    with raylets() as found:
        yield found


@pytest.fixture
def machines(shared: Raylets) -> Raylets:
    shared.complete()
    return shared


def test_a_job_that_ends_its_process_is_lost_alone(machines):
    found = dict(stream_over_actors(machines.ray, make_fragile, range(5)))
    assert isinstance(found.pop(3), Lost) and found == {number: number**2 for number in range(5) if number != 3}
    with pytest.raises(ValueError, match="13 is no number for this"):
        list(stream_over_actors(machines.ray, make_fragile, [13, 1]))
    with pytest.raises(OSError, match="3 ended its process 3 times"):
        list(run_jobs_over(machines.ray, make_fragile(), [1, 3], 2))
    with pytest.raises(ValueError, match=r"no machine of the Ray cluster has 2 core\(s\)"):
        count_places(machines.ray, cores=2)


def test_a_lost_machine_leaves_the_files_of_a_preparation_as_they_are(machines, tmp_path):
    make_cohort(tmp_path / "serial", n_scans=6)
    for name in (*(tmp_path / "serial").glob("super*"), *(tmp_path / "serial").glob("classmap*")):
        name.unlink()
    shutil.copytree(tmp_path / "serial", tmp_path / "ray")
    data_set = get_dataset("CHAOST2")
    prepare_folder(tmp_path / "serial", data_set)
    check_folder(tmp_path / "serial", data_set)

    def run(function, jobs, workers):
        for place, result in enumerate(run_jobs_over(machines.ray, function, jobs, workers)):
            if place == 1 and len(machines.machines) == 2:
                machines.lose_one()
            yield result

    prepare_folder(tmp_path / "ray", data_set, workers=2, run=run)
    assert len(machines.machines) == 1
    check_folder(tmp_path / "ray", data_set, workers=2, run=run)
    serial, spread = files_of(tmp_path / "serial"), files_of(tmp_path / "ray")
    assert spread.keys() == serial.keys()
    assert [name for name in serial if serial[name] != spread[name].replace(b"/ray", b"/serial")] == []


@pytest.fixture(scope="module")
def scans(snapshot, tmp_path_factory) -> Path:
    """An annotated scan, seven queries, and what the serial launcher makes of them."""
    folder = tmp_path_factory.mktemp("scans")
    small = {"size": (80, 64, 3), "spacing": (2.5, 2.5, 10.0)}
    for name, image in zip(("scan", "mask"), drawn_scan(**small), strict=True):
        sitk.WriteImage(image, str(folder / f"{name}.nii.gz"))
    (folder / "queries").mkdir()
    for number in range(7):
        sitk.WriteImage(drawn_scan(**small, shift=float(number))[0], str(folder / "queries" / f"{number}.nii.gz"))
    (folder / "5.pth").symlink_to(snapshot)
    assert PredictionJob(request(folder, "serial")).run() == 0
    return folder


def request(folder: Path, out: str, **changes) -> Request:
    given = {
        "query": folder / "queries", "out": folder / out, "checkpoint": folder / "5.pth", "labels": [2, 3],
        "approach": "prototypes", "modality": "MR",
        "supports": [(folder / "scan.nii.gz", folder / "mask.nii.gz")],
    }  # fmt: skip
    return Request(**given | changes)


def predictions(out: Path) -> dict[str, object]:
    """Files of an output folder; records without the seconds that a query took."""
    found = files_of(out)
    return {
        name: {**json.loads(content), "seconds": 0} if name.endswith(".json") else content
        for name, content in found.items()
    }


def test_a_lost_machine_leaves_the_files_of_a_cohort_as_they_are(machines, scans):
    def progress(records):
        for place, found in enumerate(records):
            if place == 1:
                machines.lose_one()
            yield found

    assert PredictionJob(request(scans, "lost")).run(machines.ray, progress) == 0
    assert len(machines.machines) == 1
    assert predictions(scans / "lost") == predictions(scans / "serial")


def test_a_scan_that_ends_its_process_is_one_line_and_the_others_go_on(machines, scans, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(cohort, "_make_logged", make_poisoned)
    listed = ["scan,name", f"{scans / 'queries' / '0.nii.gz'},poison", f"{scans / 'queries' / '1.nii.gz'},1"]
    (tmp_path / "cut.nii.gz").write_bytes((scans / "queries" / "0.nii.gz").read_bytes()[:999])
    (tmp_path / "scans.csv").write_text("\n".join([*listed, "cut.nii.gz,", f"{scans / 'queries' / '2.nii.gz'},2"]))
    with caplog.at_level("INFO"):
        job = PredictionJob(request(scans, str(tmp_path / "out"), query=None, listed=tmp_path / "scans.csv"))
        assert job.run(machines.ray) == 2
    with (tmp_path / "out" / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [bool(row["error"]) for row in rows] == [True, False, False, True, False, False]
    assert "ended its process 3 times" in rows[0]["error"] and "cut.nii.gz" in rows[3]["error"]
    assert [record.message.startswith("poison: ") for record in caplog.records].count(True) == 1
    made, serial = predictions(tmp_path / "out"), predictions(scans / "serial")
    assert {name: made[name] for name in ("1_mask.nii.gz", "2.json")} == {
        name: serial[name] for name in ("1_mask.nii.gz", "2.json")
    }


def test_a_killed_driver_of_a_cohort_goes_on_where_it_was(machines, scans, tmp_path):
    words = ["--support", "scan.nii.gz", "mask.nii.gz", "--query", "queries", "--checkpoint", "5.pth", "--label", "2,3"]
    words += ["--method", "prototypes", "--modality", "MR", "--launcher", "ray", "--out", str(tmp_path / "out")]
    where = {"PYTHONPATH": CODE, "RAY_ADDRESS": machines.cluster.address}
    command = [sys.executable, str(ROOT / "tools" / "predict.py"), *words]
    given = {"cwd": scans, "env": os.environ | where, "stderr": subprocess.PIPE, "text": True}
    first = subprocess.Popen(command, **given)
    table = tmp_path / "out" / "results.csv"
    wait_for(lambda: table.exists() and table.read_text().count("\n") > 1)
    first.kill()
    first.communicate(timeout=20)
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*_mask.nii.gz")}
    second = subprocess.run(command, **given, timeout=120)
    assert second.returncode == 0, second.stderr
    done = second.stderr.count("done before")
    assert 0 < done == sum(path.stat().st_mtime_ns == time for path, time in kept.items())
    made, serial = files_of(tmp_path / "out"), files_of(scans / "serial")
    assert made.keys() == serial.keys()
    assert [name for name in made if name.endswith(".nii.gz") and made[name] != serial[name]] == []


def trainings(folder: Path, data: Path) -> list:
    settings = [
        "modelname=toy", "dataset=CHAOST2_Superpix", "label_sets=0", f"path.log_dir={folder}", f"path.data_dir={data}",
        "n_steps=30", "save_snapshot_every=5", "print_interval=1", "num_workers=0", "device=cpu",
    ]  # fmt: skip
    return build_graph([(ExperimentLaunch("train", settings, folder / "logs"), [0, 1])])


def snapshots(folder: Path, step: int = 30) -> list[bytes]:
    """The last snapshots of the folds."""
    experiments = [folder / f"mySSL_train_vfold{fold}_CHAOST2_Superpix_sets_0_1shot" for fold in (0, 1)]
    return [sorted(one.glob(f"*/snapshots/{step}.pth"))[-1].read_bytes() for one in experiments]


def test_a_lost_machine_leaves_the_snapshots_of_trainings_as_they_are(machines, cohort_folder, tmp_path):
    repository = toy_repository(tmp_path / "repository")
    run_graph(trainings(tmp_path / "serial", cohort_folder), SerialLauncher(repository))
    launcher = RayLauncher(machines.ray, repository)
    assert launcher.tasks.at_once == 2

    class Losing:
        """The launcher, under which a machine is lost when both trainings have a snapshot."""

        start, stop = launcher.start, launcher.stop

        def next_ended(self, seconds):
            if len(machines.machines) == 2:
                wait_for(lambda: len(list(tmp_path.glob("ray/*/1/snapshots/5.pth"))) == 2)
                machines.lose_one()
            return launcher.next_ended(seconds)

    run_graph(trainings(tmp_path / "ray", cohort_folder), Losing())
    assert snapshots(tmp_path / "ray") == snapshots(tmp_path / "serial")
    runs = sorted(path.name for path in tmp_path.glob("ray/*/*") if path.name.isdecimal())
    assert runs == ["1", "1", "2"], "one of them went on in a run of its own"


def test_the_first_failure_stops_the_runs_of_other_machines_which_keep_their_state(machines, tmp_path):
    repository = make_repository(tmp_path)
    (repository / "wishes.json").write_text('{"fail": ["1"], "seconds": {"0": 60}, "after": {"1": "begin 0"}}')
    settings = ["dataset=CHAOST2_Superpix", "label_sets=0", f"path.log_dir={tmp_path / 'exps'}", "support_idx=[4]"]
    experiment = ExperimentLaunch("train", [*settings, "n_steps=10", "save_snapshot_every=5"], tmp_path / "logs")
    with pytest.raises(RunFailed, match="fold 1 failed with status 3") as failed:
        run_graph(build_graph([(experiment, [0, 1, 2])]), RayLauncher(machines.ray, repository))
    assert failed.value.status == 3 and "error: no memory" in str(failed.value)
    assert "stopped 0" in (repository / "calls.log").read_text()


def test_gpus_are_shared_and_a_killed_driver_goes_on(tmp_path):
    repository = make_repository(tmp_path)
    (repository / "wishes.json").write_text('{"seconds": {"0": 60, "1": 60}}')
    calls = repository / "calls.log"
    driver = bash(repository, "train", ALL_EV="0 1", GPUS="3 5")
    wait_for(lambda: calls.exists() and calls.read_text().count("begin") == 2)
    used = {call.split()[2] for call in calls.read_text().splitlines()}
    assert used == {"gpu=3", "gpu=5"}
    driver.send_signal(signal.SIGKILL)
    driver.communicate(timeout=20)
    assert wait_for(lambda: calls.read_text().count("stopped") == 2)
    (repository / "wishes.json").unlink()
    second = bash(repository, "train", ALL_EV="0 1", GPUS="3 5")
    out, err = second.communicate(timeout=60)
    assert second.returncode == 0, err
    assert "2 of them to resume; launcher ray" in out and calls.read_text().count("resume=True") == 2
