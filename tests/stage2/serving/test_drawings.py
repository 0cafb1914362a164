"""Drawings: told of whatever else there is, taken away when nothing is left, sent on the scan's own grid."""

import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from stage2.drawn import drawn_scan
from stage2.serving.served import SMALL, draw, fill, job_ended, serving
from stage2.serving.test_api import packed, state_of, voxels_of

from Stage2.serving import store as module
from Stage2.serving.folder import scans_of
from Stage2.serving.settings import ServeSettings
from Stage2.serving.store import Store

DRAWN = {"drawn": True, "example": False}


def put(client, content: bytes, scan: str = "a", **params) -> dict:
    answer = client.put(f"/api/scans/{scan}/drawing", content=content, params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()


def mask_of(folder: Path) -> sitk.Image:
    return sitk.ReadImage(str(folder.parent / "mask.nii.gz"))


def segment(client, **content) -> dict:
    return job_ended(client, client.post("/api/jobs", json={"kind": "segment", **content}).json()["id"])


def test_a_drawing_is_told_of_when_its_scan_is_segmented_after_it(client, folder):
    assert state_of(client)["drawn"] is False
    draw(client, folder)
    client.put("/api/scans/a/example", json={"example": True})
    assert draw(client, folder, "b", slices="1").items() >= {**DRAWN, "state": "drawn"}.items()
    segment(client)
    assert state_of(client, "b").items() >= {**DRAWN, "state": "segmented", "annotated_slices": [1]}.items()
    assert state_of(client, "c")["drawn"] is False


@pytest.mark.parametrize("params", [{}, {"slices": ""}], ids=["whole", "no slices"])
def test_a_drawing_in_which_nothing_is_left_is_taken_away(client, folder, tmp_path, params):
    draw(client, folder)
    client.put("/api/scans/a/example", json={"example": True})
    draw(client, folder, "b")
    client.put("/api/scans/b/example", json={"example": True})
    segment(client, scans=["a", "b", "c"])
    before = (folder / ".workbench" / "masks" / "b_mask.nii.gz").read_bytes()

    told = put(client, packed(mask_of(folder) * 0, tmp_path), "b", **params)
    assert told.items() >= {"drawn": False, "example": False, "state": "segmented", "final": True}.items()
    assert client.get("/api/scans/b/drawing.nii.gz").status_code == 404
    assert (folder / "b_mask.nii.gz").read_bytes() == before, "the network's mask counts again"
    kept = (folder / ".workbench" / "versions" / "b").iterdir()
    assert any(path.name.endswith("_b.nii.gz") for path in kept), "what was drawn is among the versions"
    assert segment(client, minutes=1)["state"] == "done"
    put(client, packed(mask_of(folder) * 0, tmp_path), "c", **params)  # there was none
    assert state_of(client, "c")["drawn"] is False


def test_a_drawing_of_unknown_voxels_alone_is_refused(client, folder, tmp_path):
    unknown = sitk.Cast(mask_of(folder) > 0, sitk.sitkUInt8) * 255
    answer = client.put("/api/scans/a/drawing", content=packed(unknown, tmp_path))
    assert (answer.status_code, "255 alone" in answer.json()["error"]) == (422, True)
    put(client, packed(unknown * 0 + mask_of(folder) + sitk.Cast(mask_of(folder) == 2, sitk.sitkUInt8) * 253, tmp_path))
    assert [own["value"] for own in client.get("/api/state").json()["labels"]] == [3]


@pytest.mark.parametrize(
    ("axes", "kind", "ending"),
    [("RPS", sitk.sitkUInt8, ".nii.gz"), ("SPR", sitk.sitkInt16, ".nii"), ("LAS", sitk.sitkFloat32, ".nii.gz")],
    ids=["flipped", "other order", "floats"],
)
def test_a_mask_that_lay_there_is_sent_on_the_scan_s_own_grid(client, folder, axes, kind, ending):
    own = folder / f"a_mask{ending}"
    sitk.WriteImage(sitk.Cast(drawn_scan(**SMALL, axes=axes)[1], kind), str(own))
    expected = sitk.GetArrayFromImage(mask_of(folder)).T
    for address in ("/api/scans/a/drawing.nii.gz", "/datastore/label?image=a"):
        for _ in range(2):  # made, and there already
            got, _header = voxels_of(client.get(address).content)
            assert got.dtype == np.uint8
            np.testing.assert_array_equal(got, expected)
    sitk.WriteImage(sitk.Cast(drawn_scan(**SMALL, axes=axes)[1] == 3, kind), str(own))  # changed by another program
    np.testing.assert_array_equal(voxels_of(client.get(address).content)[0], expected == 3)


def test_values_that_a_header_scales_are_sent_as_they_are_meant(client, folder):
    stored = nibabel.load(folder.parent / "mask.nii.gz")
    stored.header.set_slope_inter(2, 0)
    nibabel.save(stored, folder / "a_mask.nii.gz")
    got, _ = voxels_of(client.get("/api/scans/a/drawing.nii.gz").content)
    np.testing.assert_array_equal(got, nibabel.load(folder / "a_mask.nii.gz").get_fdata())
    assert (got.dtype, np.unique(got).tolist()) == (np.uint8, [0, 4, 6])


def test_a_mask_that_does_not_fit_is_one_sentence(client, folder):
    sitk.WriteImage(mask_of(folder)[:, :, :2], str(folder / "a_seg.nii.gz"))
    for answer in (
        client.get("/api/scans/a/drawing.nii.gz"), client.put("/api/scans/a/example", json={"example": True}),
    ):  # fmt: skip
        assert answer.status_code == 422
        assert "both must lie on one grid" in answer.json()["error"]
        assert str(folder) not in answer.json()["error"]


def test_an_example_s_own_organs_get_labels(client, folder):
    shutil.copy(folder.parent / "mask.nii.gz", folder / "a_seg.nii.gz")
    labels = [{"value": 1, "name": "organ 1", "colour": "#e6194b"}]
    client.put("/api/labels", json={"labels": labels})
    client.put("/api/scans/a/example", json={"example": True})
    assert [own["name"] for own in client.get("/api/state").json()["labels"]] == ["organ 1", "label 2", "label 3"]


def test_organs_of_a_network_get_labels(folder, tmp_path):
    network = tmp_path / "networks" / "given.safetensors"
    network.parent.mkdir()
    network.write_bytes(b"network")
    with serving(folder, adapted=network.parent) as client:
        shutil.copy(folder.parent / "mask.nii.gz", folder / "a_seg.nii.gz")
        client.put("/api/scans/a/example", json={"example": True})
        client.put("/api/labels", json={"labels": []})
        segment(client, scans=["b"])
        assert [own["value"] for own in client.get("/api/state").json()["labels"]] == [2]  # as the record has it


def test_labels_that_come_while_a_drawing_is_read_are_kept(tmp_path, monkeypatch):
    """Two drawings with a new organ each, and labels named meanwhile, do not get in one another's way."""
    folder = fill(tmp_path / "scans")
    store = Store(ServeSettings(data=folder))
    scan, other = scans_of(store.root)[:2]
    named = [{"value": 1, "name": "spleen", "colour": "#112233"}]
    listed = [{"name": "liver", "idx": 2}, {"name": "kidney", "idx": 3}]

    def send(scan, entries) -> None:
        sent = tmp_path / f"sent {scan.id}"
        shutil.copy(folder.parent / "mask.nii.gz", sent)
        store.save_drawing(scan, sent, None, entries)

    read = module.sent_voxels

    def reading(*given):
        voxels = read(*given)
        monkeypatch.setattr(module, "sent_voxels", read)
        store.set_labels(named)
        send(other, [{"name": "aorta", "idx": 2}, {"name": "kidney", "idx": 3}])
        return voxels

    monkeypatch.setattr(module, "sent_voxels", reading)
    send(scan, listed)
    assert {own.name: own.value for own in store.labels()} == {"spleen": 1, "aorta": 2, "kidney": 3, "liver": 4}
    drawn = sitk.GetArrayFromImage(sitk.ReadImage(str(store.drawing(scan))))
    assert np.unique(drawn).tolist() == [0, 3, 4]
    store.close()
