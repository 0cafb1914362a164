"""What the page asks for: scans as they are, drawings that come back, examples, labels, masks, versions."""

import gzip
import shutil

import cv2
import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from stage2.drawn import drawn_scan
from stage2.serving.served import SMALL, draw, job_ended, serving

from Stage2.io.scans import find_scans


def state_of(client, scan: str = "a") -> dict:
    return next(own for own in client.get("/api/state").json()["scans"] if own["id"] == scan)


def voxels_of(content: bytes) -> tuple[np.ndarray, nibabel.Nifti1Header]:
    image = nibabel.Nifti1Image.from_bytes(gzip.decompress(content))
    return np.asanyarray(image.dataobj), image.header


def packed(image: sitk.Image, tmp_path) -> bytes:
    sitk.WriteImage(image, str(tmp_path / "sent.nii.gz"))
    return (tmp_path / "sent.nii.gz").read_bytes()


def test_scans_are_listed_and_sent_as_they_are(client, folder):
    content = client.get("/api/state").json()
    assert [scan["id"] for scan in content["scans"]] == ["a", "b", "c"]
    assert {key: content[key] for key in ("folder", "read_only", "labels", "job", "queue", "network")} == {
        "folder": "scans", "read_only": False, "labels": [], "job": None, "queue": [], "network": None
    }  # fmt: skip
    expected = {"kind": "nifti", "shape": [40, 32, 3], "spacing": [5, 5, 10], "slice_axis": 2, "state": "none"}
    assert expected.items() <= state_of(client).items()
    assert client.get("/api/scans/a/image.nii.gz").content == (folder / "a.nii.gz").read_bytes()
    picture = cv2.imdecode(np.frombuffer(client.get("/api/scans/a/thumbnail.png").content, np.uint8), -1)
    assert picture.shape == (102, 128)
    assert picture.std() > 20
    small, _ = voxels_of(client.get("/api/scans/a/preview.nii.gz").content)
    np.testing.assert_array_equal(small, nibabel.load(folder / "a.nii.gz").get_fdata())
    assert client.get("/api/scans/x/image.nii.gz").status_code == 404


def test_a_scan_that_is_not_packed_or_odd_in_name_or_damaged(client, folder):
    (folder / "sub").mkdir()
    sitk.WriteImage(drawn_scan(**SMALL, axes="SPR")[0], str(folder / 'sag "é".nii'))
    (folder / "bad.nii.gz").write_bytes((folder / "b.nii.gz").read_bytes()[:900])
    shutil.copy(folder / "c.nii.gz", folder / "c.nii")
    scans = {scan["name"]: scan for scan in client.get("/api/state").json()["scans"]}
    odd = scans['sag "é"']
    assert odd["id"].isascii() and '"' not in odd["id"]
    assert (odd["shape"], odd["slice_axis"]) == ([3, 32, 40], 0)
    got = gzip.decompress(client.get(f"/api/scans/{odd['id']}/image.nii.gz").content)
    assert got == (folder / 'sag "é".nii').read_bytes()
    assert "truncated" in client.get("/api/scans/bad/thumbnail.png").json()["error"]
    assert "truncated" in state_of(client, "bad")["error"]
    twins = [scan for scan in client.get("/api/state").json()["scans"] if scan["name"] == "c"]
    assert [twin["error"] is None for twin in twins] == [True, False]


def test_a_drawing_is_kept_on_the_scan_s_grid_with_every_version(client, folder, tmp_path):
    drawn = draw(client, folder, slices="1")
    assert (drawn["state"], drawn["annotated_slices"], drawn["volumes"]) == ("drawn", [1], {})
    assert [label["name"] for label in client.get("/api/state").json()["labels"]] == ["label 2", "label 3"]
    first, header = voxels_of(client.get("/api/scans/a/drawing.nii.gz").content)
    scan = nibabel.load(folder / "a.nii.gz")
    np.testing.assert_array_equal(header.get_best_affine(), scan.affine)
    assert first.dtype == np.uint8
    assert not (folder / "a_mask.nii.gz").exists()  # drawn in part

    turned = drawn_scan(**SMALL, shift=3.0, axes="SPR")[1]  # the same places, another order of axes
    answer = client.put("/api/scans/a/drawing", content=packed(turned, tmp_path))
    assert answer.json()["annotated_slices"] is None
    second, header = voxels_of(client.get("/api/scans/a/drawing.nii.gz").content)
    expected = nibabel.as_closest_canonical(nibabel.load(tmp_path / "sent.nii.gz")).get_fdata()
    got = nibabel.as_closest_canonical(nibabel.Nifti1Image(second, header.get_best_affine())).get_fdata()
    np.testing.assert_array_equal(got, expected)
    saved = (folder / "a_mask.nii.gz").read_bytes()
    np.testing.assert_array_equal(voxels_of(saved)[0], second)
    client.put("/api/scans/a/drawing", content=packed(turned, tmp_path))  # the same: no version
    kept = list((folder / ".workbench" / "versions" / "a").iterdir())
    assert len(kept) == 1
    np.testing.assert_array_equal(nibabel.load(kept[0]).get_fdata(), first)
    assert [scan.name for scan in find_scans(folder)] == ["a", "b", "c"]  # for predict.py too, a mask is no scan


def test_a_mask_that_lay_there_before_is_a_drawing_and_is_never_lost(client, folder):
    own = folder / "a_mask.nii.gz"
    shutil.copy(folder.parent / "mask.nii.gz", own)
    before = own.read_bytes()
    assert state_of(client)["state"] == "drawn"
    assert client.get("/api/scans/a/drawing.nii.gz").content == before
    assert client.put("/api/scans/a/example", json={"example": True}).json()["state"] == "example"
    image = sitk.ReadImage(str(own))
    sitk.WriteImage(image * 0 + 1, str(folder.parent / "mask.nii.gz"))
    draw(client, folder)
    assert (voxels_of(own.read_bytes())[0] == 1).all()
    kept = list((folder / ".workbench" / "versions" / "a").iterdir())
    assert [path.read_bytes() for path in kept] == [before]


@pytest.mark.parametrize(
    ("make", "slices", "said"),
    [
        (lambda image: image[:, :, :2], None, "both must lie on one grid"),
        (lambda image: sitk.Cast(image, sitk.sitkFloat32) + 0.5, None, "expected whole numbers from 0 to 255"),
        (lambda image: sitk.Cast(image, sitk.sitkUInt16) + 300, None, "expected whole numbers from 0 to 255"),
        (lambda image: image, "3", "has slices 0 to 2"),
        (lambda image: image, "1,x", "expected numbers such as 3,7,9"),
    ],
)
def test_a_drawing_that_does_not_fit_is_one_line(client, folder, tmp_path, make, slices, said):
    mask = drawn_scan(**SMALL)[1]
    params = {} if slices is None else {"slices": slices}
    answer = client.put("/api/scans/a/drawing", content=packed(make(mask), tmp_path), params=params)
    assert answer.status_code == 422
    assert said in answer.json()["error"]
    assert str(tmp_path) not in answer.json()["error"]
    moved = sitk.Image(mask)
    moved.SetOrigin((500.0, 0.0, 0.0))
    answer = client.put("/api/scans/a/drawing", content=packed(moved, tmp_path))
    assert "lies elsewhere than a" in answer.json()["error"]
    for content, status in ((b"", 400), (b"\x1f\x8bno", 422), (packed(mask, tmp_path)[:-30], 422)):
        assert client.put("/api/scans/a/drawing", content=content).status_code == status
    assert client.get("/api/scans/a/drawing.nii.gz").status_code == 404
    assert list((folder / ".workbench" / "uploads").iterdir()) == []


def test_examples_and_labels(client, folder):
    assert "nothing is drawn in a" in client.put("/api/scans/a/example", json={"example": True}).json()["error"]
    assert client.post("/api/jobs", json={"kind": "segment"}).status_code == 409
    draw(client, folder)
    assert client.put("/api/scans/a/example", json={"example": 1}).status_code == 422
    assert client.put("/api/scans/a/example", json={"example": True}).json()["example"] is True
    assert client.put("/api/scans/a/example", json={"example": False}).json()["state"] == "drawn"
    labels = [{"value": 3, "name": "left <b>kidney</b>", "colour": "#00FF00"},
              {"value": 2, "name": " liver\n", "colour": "#123456"}]  # fmt: skip
    assert client.put("/api/labels", json={"labels": labels}).json()["labels"] == [
        {"value": 2, "name": "liver", "colour": "#123456"},
        {"value": 3, "name": "left <b>kidney</b>", "colour": "#00ff00"},
    ]
    for change in ({"value": 0}, {"value": 255}, {"value": True}, {"name": ""}, {"name": "x" * 65}, {"colour": "red"}):
        assert client.put("/api/labels", json={"labels": [{**labels[0], **change}]}).status_code == 422
    for wrong in (labels[:1] * 2, [labels[0], {**labels[0], "value": 9}], "x", [1], None):
        assert client.put("/api/labels", json={"labels": wrong}).status_code == 422
    assert client.put("/api/labels", content=b"[" * 9000).status_code == 400


def test_what_is_there_outlives_the_server(folder):
    with serving(folder) as client:
        draw(client, folder, slices="0,1")
        client.put("/api/scans/a/example", json={"example": True})
        job = client.post("/api/jobs", json={"kind": "segment"}).json()["id"]
        assert job_ended(client, job)["state"] == "done"
        before = client.get("/api/state").json()
    with serving(folder) as client:
        assert client.get("/api/state").json() == before
        with pytest.raises(OSError, match="works in"), serving(folder):
            pass
    (folder / ".a_mask.77.partial.nii.gz").touch()  # of a server that was killed as it wrote
    (folder / ".a.partial").touch()  # somebody else's
    with serving(folder):
        assert sorted(path.name for path in folder.glob(".*partial*")) == [".a.partial"]
    (folder / ".workbench" / "workbench.json").write_text("{}")
    with pytest.raises(ValueError, match=r"workbench\.json is damaged"), serving(folder):
        pass


def test_large_scans_are_thinned_for_the_first_picture(client, folder, tmp_path):
    voxels = np.arange(330 * 20 * 2, dtype=np.int32).reshape(2, 20, 330)
    image = sitk.GetImageFromArray(voxels)
    image.SetSpacing((0.5, 0.7, 4.0))
    sitk.WriteImage(image, str(folder / "wide.nii.gz"))
    small, header = voxels_of(client.get("/api/scans/wide/preview.nii.gz").content)
    np.testing.assert_array_equal(small, voxels.T[::3])
    assert small.dtype == np.float32
    np.testing.assert_allclose(np.abs(np.diag(header.get_best_affine())[:3]), (1.5, 0.7, 4.0))
