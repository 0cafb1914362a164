"""3D Slicer's stock module works with the workbench: signs in, takes scans, sends labels, trains, gets masks."""

import gzip
from pathlib import Path

import nibabel
import numpy as np
import SimpleITK as sitk
from stage2.serving.served import TOKEN, draw, until
from stage2.serving.slicer import Slicer


def voxels_of(content: bytes) -> np.ndarray:
    return np.asanyarray(nibabel.Nifti1Image.from_bytes(gzip.decompress(content)).dataobj)


def renumbered(path: Path, values: dict[int, int]) -> Path:
    """A copy of a mask with other values, in the order of a client's own list of segments."""
    image = sitk.ReadImage(str(path))
    voxels = sitk.GetArrayFromImage(image)
    changed = sitk.GetImageFromArray(np.vectorize(lambda value: values.get(value, 0))(voxels).astype(np.int16))
    changed.CopyInformation(image)
    sitk.WriteImage(changed, str(path.with_name("label.nii.gz")))
    return path.with_name("label.nii.gz")


def test_a_sitting_in_slicer(client, folder):
    labels = [{"value": 7, "name": "spleen", "colour": "#112233"}, {"value": 2, "name": "liver", "colour": "#445566"}]
    client.put("/api/labels", json={"labels": labels})
    slicer = Slicer(client)
    assert slicer.ask("GET", "/info/").status_code == 401
    assert slicer.sign_in("wrong") == 401
    assert slicer.sign_in(TOKEN) == 200
    assert slicer.ask("GET", "/auth/token/valid").status_code == 200

    info = slicer.json("GET", "/info/")
    assert info["models"]["densemp"]["type"] == "segmentation"
    assert info["labels"] == {"liver": 2, "spleen": 7}
    assert {"trainers", "strategies", "train_stats", "datastore", "version", "name", "config"} <= info.keys()
    assert (info["datastore"]["total"], info["datastore"]["completed"]) == (3, 0)

    sample = slicer.json("POST", "/activelearning/least_trusted", {})
    assert (sample["id"], Path(sample["path"])) == ("a", folder / "a.nii.gz")
    got = slicer.ask("GET", f"/datastore/image?image={sample['id']}")
    assert got.content == (folder / "a.nii.gz").read_bytes()
    answer = slicer.form("POST", "/infer/densemp?image=a", {}, {})
    assert (answer.status_code, "no scan is an example yet" in answer.json()["error"]) == (409, True)

    # Slicer numbers segments by their order: spleen is its first, drawn where our mask has 3; a third is new to us.
    label = renumbered(folder.parent / "mask.nii.gz", {2: 3, 3: 1})
    listed = [{"name": "spleen", "idx": 1}, {"name": "liver", "idx": 2}, {"name": "new one", "idx": 3}]
    assert slicer.save_label("a", label, listed)["image"] == "a"
    drawn = voxels_of(slicer.ask("GET", "/datastore/label?label=a&tag=final").content)
    mask = nibabel.load(folder.parent / "mask.nii.gz").get_fdata()
    np.testing.assert_array_equal(drawn, np.where(mask == 3, 7, np.where(mask == 2, 1, 0)))
    assert slicer.json("GET", "/info/")["labels"] == {"new one": 1, "liver": 2, "spleen": 7}
    assert slicer.json("POST", "/activelearning/first", {})["id"] == "b"

    assert slicer.ask("GET", "/train/?check_if_running=true").status_code == 404
    (folder / "slow").touch()
    assert slicer.json("POST", "/train/densemp", {"model": "densemp", "minutes": 0.5})["status"] == "RUNNING"
    assert slicer.ask("POST", "/train/densemp").status_code == 429
    assert slicer.ask("GET", "/train/?check_if_running=true").status_code == 200
    (folder / "slow").unlink()
    until(lambda: slicer.json("GET", "/train/")["status"] == "DONE")
    assert slicer.json("GET", "/info/")["train_stats"]["densemp"]["total_time"] == 30

    params, content = slicer.infer("b")
    np.testing.assert_array_equal(voxels_of(content), drawn)
    assert params["label_names"] == {"new one": 1, "spleen": 7}  # those in the mask, in the order of their values
    assert slicer.form("POST", "/infer/densemp?image=b&output=json", {}, {}).json() == params
    assert slicer.form("POST", "/infer/densemp?image=b&output=image", {}, {}).content == content
    assert slicer.ask("GET", "/datastore/label?label=b&tag=original").content == content
    everything = slicer.json("GET", "/datastore/?output=all")["objects"]
    assert {key: sorted(own["labels"]) for key, own in everything.items()} == {
        "a": ["final"], "b": ["original"], "c": ["original"]
    }  # fmt: skip
    assert everything["b"]["labels"]["original"]["info"]["params"]["label_names"]["spleen"] == 7
    assert [Path(pair["image"]).name for pair in slicer.json("GET", "/datastore/?output=train")] == ["a.nii.gz"]

    assert slicer.ask("DELETE", "/datastore/?id=a&type=image").status_code == 403
    assert slicer.ask("DELETE", "/datastore/?id=a&type=label").status_code == 200
    assert slicer.ask("GET", "/datastore/label?label=a").status_code == 404
    kept = [path for path in (folder / ".workbench" / "versions" / "a").iterdir() if path.name.endswith("_a.nii.gz")]
    np.testing.assert_array_equal(nibabel.load(kept[0]).get_fdata(), drawn)


def test_sessions_and_uploads_by_a_client_without_headers(client, folder):
    draw(client, folder)
    client.put("/api/scans/a/example", json={"example": True})
    slicer = Slicer(client, f"/slicer/{TOKEN}")
    assert slicer.json("GET", "/auth/")["enabled"] is False
    answer = slicer.form("PUT", "/datastore/?image=new one", {}, {"file": folder / "b.nii.gz"})
    assert answer.json() == {"image": "new_one"}
    assert (folder / "new_one.nii.gz").is_file()

    files = {"files": ("tmp.nii.gz", (folder / "c.nii.gz").read_bytes())}
    headers = {"authorization": ""}
    answer = client.put(f"/slicer/{TOKEN}/session/", files=files, data={"client_id": "me"}, headers=headers)
    session = answer.json()["session_id"]
    assert slicer.json("GET", f"/session/{session}")["image"] == "tmp.nii.gz"
    params, content = slicer.infer("whatever", session=session)
    np.testing.assert_array_equal(voxels_of(content), nibabel.load(folder.parent / "mask.nii.gz").get_fdata())
    assert params["label_names"] == {"label 2": 2, "label 3": 3}
    assert [scan["state"] for scan in client.get("/api/state").json()["scans"]] == ["example", *["none"] * 3]
    assert slicer.json("DELETE", f"/session/{session}")["name"] == session
    assert slicer.ask("GET", f"/session/{session}").status_code == 404
    assert slicer.ask("GET", "/session/..%2f..%2fjobs").status_code == 404
    bad = {"files": ("tmp.nii.gz", b"no scan")}
    assert "tmp.nii.gz is no NIfTI" in client.put("/session/", files=bad).json()["error"]
    assert list((folder / ".workbench" / "sessions").iterdir()) == []
    sent = {"file": ("x.nii.gz", (folder / "c.nii.gz").read_bytes())}
    assert client.post("/infer/densemp", files=sent, params={"output": "json"}).json() == params
    assert client.post("/infer/other", params={"image": "a"}).status_code == 404
    assert client.get("/logs/").status_code == 200
