"""A folder that changes while it is served: scans replaced, series copied in, odd names."""

import os
import shutil

import numpy as np
import SimpleITK as sitk
from stage2.drawn import drawn_scan
from stage2.preparation.drawn_archives import write_series
from stage2.serving.served import draw, fill, job_ended, serving
from stage2.serving.test_api import state_of

from Stage2.serving.descriptions import describe
from Stage2.serving.folder import scans_of
from Stage2.serving.settings import ServeSettings
from Stage2.serving.store import Store

VOXELS = np.arange(4 * 20 * 24, dtype=np.int16).reshape(4, 20, 24)


def test_a_scan_that_is_replaced_has_no_mask_until_it_is_segmented_anew(client, folder):
    draw(client, folder)
    client.put("/api/scans/a/example", json={"example": True})
    draw(client, folder, "b", slices="1")
    job_ended(client, client.post("/api/jobs", json={"kind": "segment", "scans": ["b", "c"]}).json()["id"])
    assert [state_of(client, scan)["approach"] for scan in "bc"] == ["adapted"] * 2
    for name in "bc":
        sitk.WriteImage(drawn_scan(size=(36, 32, 4), spacing=(5, 5, 10))[0], str(folder / f"{name}.nii.gz"))
    for name in "bc":
        told = state_of(client, name)
        assert told.items() >= {"shape": [36, 32, 4], "approach": None, "volumes": {}, "confidence": {}}.items()
        assert told["next"] is None
        assert client.get(f"/api/scans/{name}/mask.nii.gz").status_code == 404
    assert client.get("/api/scans/c/final.nii.gz").status_code == 404
    refused = client.get("/api/scans/b/drawing.nii.gz")
    assert (refused.status_code, "both must lie on one grid" in refused.json()["error"]) == (422, True)

    before = len(list((folder / ".workbench" / "jobs").glob("*/plan.json")))
    assert client.post("/infer/densemp", params={"image": "c", "output": "json"}).status_code == 200
    assert len(list((folder / ".workbench" / "jobs").glob("*/plan.json"))) == before + 1
    assert state_of(client, "c")["approach"] == "adapted"


def test_what_a_server_before_noted_without_the_scan_s_state_stays(folder):
    with serving(folder) as client:
        draw(client, folder)
        client.put("/api/scans/a/example", json={"example": True})
        job_ended(client, client.post("/api/jobs", json={"kind": "segment"}).json()["id"])
    path = folder / ".workbench" / "workbench.json"
    path.write_text(path.read_text().replace('"predicted"', '"unused"'))
    with serving(folder) as client:
        assert state_of(client, "b")["approach"] == "adapted"


def test_a_series_that_is_copied_in_is_listed_once_its_files_are_there(client, folder):
    (folder / "case").mkdir()
    client.get("/api/state")
    root = folder.stat()
    write_series(folder / "case", VOXELS)
    os.utime(folder, ns=(root.st_atime_ns, root.st_mtime_ns))
    assert [scan["id"] for scan in client.get("/api/state").json()["scans"]] == ["a", "b", "c", "case"]
    shutil.rmtree(folder / "case")
    assert [scan["id"] for scan in client.get("/api/state").json()["scans"]] == ["a", "b", "c"]


def test_masks_and_state_beside_a_series_are_no_change_of_it(tmp_path):
    write_series(tmp_path / "series", VOXELS)
    (scan,) = scans_of(tmp_path / "series")
    before = scan.fingerprint()
    (tmp_path / "series" / ".workbench").mkdir()
    (tmp_path / "series" / "series_mask.nii.gz").touch()
    assert scan.fingerprint() == before
    shutil.copy(next((tmp_path / "series").glob("*.dcm")), tmp_path / "series" / "more.dcm")
    assert scan.fingerprint() != before


def test_a_scan_that_failed_can_be_opened_and_is_well_again(tmp_path):
    store = Store(ServeSettings(data=fill(tmp_path / "scans")))
    scan = store.scan("b")
    store.take_prediction(scan, scan.fingerprint(), "memory was short")
    told = describe(store, scan)
    assert (told["error"], told["failure"]) == (None, "memory was short")
    store.take_prediction(scan, scan.fingerprint(), None)
    assert describe(store, scan)["failure"] is None
    store.close()


def test_names_that_are_no_text_do_no_harm_to_others(folder):
    for name in (b"odd\xe8.nii.gz", b"odd\xe9.nii.gz"):
        shutil.copy(folder / "b.nii.gz", folder / os.fsdecode(name))
    damaged = folder / os.fsdecode(b"bad\xe9.nii.gz")
    damaged.write_bytes(b"no scan")
    with serving(folder) as client:
        scans = client.get("/api/state").json()["scans"]
        ids = [scan["id"] for scan in scans if scan["id"].startswith("odd")]
        assert len(ids) == 2
        for scan in ids:
            draw(client, folder, scan)
            answer = client.get(f"/api/scans/{scan}/final.nii.gz")
            assert answer.headers["content-disposition"] == f'attachment; filename="{scan}_mask.nii.gz"'
        for path in ("/api/masks.zip", "/api/bids.zip", "/datastore/?output=train", "/datastore/?output=all"):
            assert client.get(path).status_code == 200, path
        draw(client, folder)
        for scan in "bc":
            draw(client, folder, scan)
        client.delete("/datastore/", params={"id": ids[0], "type": "label"})
        damaged.unlink()
        assert client.post("/activelearning/first").json()["id"] == ids[0]
