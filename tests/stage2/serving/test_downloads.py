"""Masks to take home: one archive, BIDS derivatives, DICOM-SEG that refers to its series."""

import gzip
import io
import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.uid import UID
from stage2.preparation.drawn_archives import write_series
from stage2.serving.served import draw, job_ended, serving

from Stage2.serving.exports import _archive, bids_names


def complete(folder: Path) -> None:
    """Give the slices of a drawn series what a scanner writes too."""
    for path in folder.iterdir():
        one = pydicom.dcmread(path)
        one.PatientID, one.PatientName, one.PatientBirthDate, one.PatientSex = "7", "A^B", "", ""
        one.StudyDate = one.StudyTime = one.AccessionNumber = one.StudyID = one.ReferringPhysicianName = ""
        one.FrameOfReferenceUID, one.StudyInstanceUID = UID("1.2.840.9.1"), UID("1.2.840.9.2")
        one.save_as(path)


def test_masks_of_a_dicom_series(tmp_path):
    highdicom = pytest.importorskip("highdicom", reason="highdicom has no wheels for this Python")
    folder = tmp_path / "scans"
    voxels = np.random.default_rng(0).integers(0, 900, (4, 20, 24)).astype(np.int16)
    write_series(folder / "case 1", voxels, order=(2, 0, 3, 1))
    complete(folder / "case 1")
    drawn = np.zeros((4, 20, 24), np.uint8)
    drawn[1:3, 2:9, 3:8], drawn[2:, 12:15, 10:20] = 2, 5
    with serving(folder) as client:
        (scan,) = client.get("/api/state").json()["scans"]
        address = f"/api/scans/{scan['id']}"
        (tmp_path / "scan.nii.gz").write_bytes(client.get(f"{address}/image.nii.gz").content)
        image = sitk.ReadImage(str(tmp_path / "scan.nii.gz"))
        np.testing.assert_array_equal(sitk.GetArrayFromImage(image), voxels)
        (scan,) = client.get("/api/state").json()["scans"]
        assert (scan["kind"], scan["shape"], scan["slice_axis"]) == ("dicom", [24, 20, 4], 2)
        assert client.get(f"{address}/mask.dcm").status_code == 404
        mask = sitk.GetImageFromArray(drawn)
        mask.CopyInformation(image)
        sitk.WriteImage(mask, str(tmp_path / "mask.nii.gz"))
        draw(client, folder, scan["id"])
        labels = [{"value": 2, "name": "liver", "colour": "#e69f00"}]
        client.put("/api/labels", json={"labels": labels})
        answer = client.get(f"{address}/mask.dcm")
    assert (folder / "case 1_mask.nii.gz").is_file()
    assert answer.headers["content-type"] == "application/dicom", answer.text
    found = highdicom.seg.segread(io.BytesIO(answer.content))
    described = [found.get_segment_description(number) for number in (1, 2)]
    assert [(own.segment_label, own.segmented_property_type.value) for own in described] == [
        ("liver", "10200004"), ("label 5", "113343008")
    ]  # fmt: skip
    sources = [pydicom.dcmread(path) for path in (folder / "case 1").iterdir()]
    sources.sort(key=lambda one: one.ImagePositionPatient[2])
    assert found.PatientID == "7"
    assert found.FrameOfReferenceUID == sources[0].FrameOfReferenceUID
    frames = found.get_pixels_by_source_instance(
        [one.SOPInstanceUID for one in sources], combine_segments=True, ignore_spatial_locations=True,
        assert_missing_frames_are_empty=True,
    )  # fmt: skip
    np.testing.assert_array_equal(frames, np.select([drawn == 2, drawn == 5], [1, 2]))


def test_archives(client, folder):
    assert client.get("/api/masks.zip").status_code == 404
    draw(client, folder)
    client.put("/api/scans/a/example", json={"example": True})
    shutil.copy(folder / "c.nii.gz", folder / "sub-02_ses-1_T1w.nii.gz")
    job_ended(client, client.post("/api/jobs", json={"kind": "preview", "scans": ["sub-02_ses-1_T1w"]}).json()["id"])
    with zipfile.ZipFile(io.BytesIO(client.get("/api/masks.zip").content)) as archive:
        assert archive.namelist() == ["a_mask.nii.gz", "sub-02_ses-1_T1w_mask.nii.gz"]
        assert archive.read("a_mask.nii.gz") == (folder / "a_mask.nii.gz").read_bytes()
    one = client.get("/api/masks.zip", params={"scans": "a"})
    assert zipfile.ZipFile(io.BytesIO(one.content)).namelist() == ["a_mask.nii.gz"]
    assert client.get("/api/masks.zip", params={"scans": "a,x"}).status_code == 404
    assert client.get("/api/scans/a/mask.dcm").status_code == 409
    with zipfile.ZipFile(io.BytesIO(client.get("/api/bids.zip").content)) as archive:
        base = "densemp/sub-02/anat/sub-02_ses-1_desc-densemp_dseg"
        assert {f"{base}.nii.gz", f"{base}.json", "densemp/desc-densemp_dseg.tsv"} <= set(archive.namelist())
        assert json.loads(archive.read("densemp/dataset_description.json"))["DatasetType"] == "derivative"
        assert json.loads(archive.read("densemp/sub-A/anat/sub-A_desc-densemp_dseg.json"))["Manual"] is True
        table = archive.read("densemp/desc-densemp_dseg.tsv").decode().splitlines()
        assert table[:2] == ["index\tname\tcolor", "2\tlabel 2\t#56b4e9"]


def test_the_mask_that_counts_is_taken_home_under_the_folder_s_name(client, folder, tmp_path):
    shutil.copy(folder / "c.nii.gz", folder / "ö 1.nii.gz")
    odd = next(own["id"] for own in client.get("/api/state").json()["scans"] if own["name"] == "ö 1")
    assert client.get("/api/scans/a/final.nii.gz").status_code == 404
    draw(client, folder)
    client.put("/api/scans/a/example", json={"example": True})
    job_ended(client, client.post("/api/jobs", json={"kind": "segment"}).json()["id"])
    whole = sitk.ReadImage(str(folder.parent / "mask.nii.gz"))
    sitk.WriteImage(sitk.Cast(whole == 3, sitk.sitkUInt8) * 3, str(folder.parent / "mask.nii.gz"))
    draw(client, folder, "b")  # corrected
    draw(client, folder, odd)
    for scan, name in (("a", "a"), ("b", "b"), ("c", "c"), (odd, "ö 1")):
        answer = client.get(f"/api/scans/{scan}/final.nii.gz")
        assert answer.content == (folder / f"{name}_mask.nii.gz").read_bytes()
        given = 'filename="' if name.isascii() else "filename*=utf-8''%C3%B6%201"
        assert answer.headers["content-disposition"].startswith(f"attachment; {given}")
    assert client.get("/api/scans/b/mask.nii.gz").content != client.get("/api/scans/b/final.nii.gz").content


def test_masks_that_are_not_packed_are_packed_in_all_that_is_sent(client, folder):
    image = sitk.ReadImage(str(folder.parent / "mask.nii.gz"))
    sitk.WriteImage(image, str(folder / "b_seg.nii"))
    content = (folder / "b_seg.nii").read_bytes()
    shutil.copy(folder / "b_seg.nii", folder / "c_mask.nii.gz")  # whatever it is called
    client.put("/api/scans/b/example", json={"example": True})
    with zipfile.ZipFile(io.BytesIO(client.get("/api/masks.zip").content)) as archive:
        assert all(gzip.decompress(archive.read(f"{scan}_mask.nii.gz")) == content for scan in "bc")
    with zipfile.ZipFile(io.BytesIO(client.get("/api/bids.zip").content)) as archive:
        assert gzip.decompress(archive.read("densemp/sub-B/anat/sub-B_desc-densemp_dseg.nii.gz")) == content
    for path in ("b/final.nii.gz", "b/drawing.nii.gz", "c/drawing.nii.gz"):
        assert gzip.decompress(client.get(f"/api/scans/{path}").content) == content
    job = client.post("/api/jobs", json={"kind": "segment"}).json()["id"]
    assert job_ended(client, job)["state"] == "done"
    assert gzip.decompress((folder / ".workbench/jobs" / job / "drawings/b.nii.gz").read_bytes()) == content


def test_the_table_names_organs_that_no_label_has(client, folder):
    shutil.copy(folder.parent / "mask.nii.gz", folder / "a_seg.nii.gz")
    client.put("/api/labels", json={"labels": [{"value": 1, "name": "organ 1", "colour": "#e6194b"}]})
    with zipfile.ZipFile(io.BytesIO(client.get("/api/bids.zip").content)) as archive:
        table = archive.read("densemp/desc-densemp_dseg.tsv").decode().splitlines()
    assert [row.split("\t")[1] for row in table[1:]] == ["organ 1", "label 2", "label 3"]


def test_every_mask_has_its_own_name_in_an_archive(client, folder):
    names = ("sub-01_T1w", "sub-01_T2w", "sub-02_T1w", "x 1", "x-1", "x1")
    for name in names:
        shutil.copy(folder / "b.nii.gz", folder / f"{name}.nii.gz")
        shutil.copy(folder.parent / "mask.nii.gz", folder / f"{name}_seg.nii.gz")
    with zipfile.ZipFile(io.BytesIO(client.get("/api/bids.zip").content)) as archive:
        masks = {name for name in archive.namelist() if name.endswith(".nii.gz")}
    assert len(masks) == len(names)
    assert "densemp/sub-01/anat/sub-01_acq-T1w_desc-densemp_dseg.nii.gz" in masks
    chosen = client.get("/api/bids.zip", params={"scans": "sub-01_T1w,sub-01_T1w"}).content
    with zipfile.ZipFile(io.BytesIO(chosen)) as archive:
        assert {name for name in archive.namelist() if name.endswith(".nii.gz")} < masks
    with pytest.raises(ValueError, match="two masks would be called a"):
        _archive([("a", b""), ("a", b"")])


@pytest.mark.parametrize(
    ("names", "kept"),
    [(["sub-01_T2w"], ["sub-01"]), (["sub-01_ses-2_desc-x_T2w"], ["sub-01_ses-2"]), (["my scan-3"], ["sub-MyScan3"]),
     (["../.."], ["sub-unnamed"]), (["a-b", "a_b"], ["sub-ABd44362d6", "sub-AB648fa9b3"]),
     (["sub-1_ses-2_run-3_T1w", "sub-1_ses-2_run-3_T2w"], ["sub-1_ses-2_acq-T1w_run-3", "sub-1_ses-2_acq-T2w_run-3"]),
     (["sub-1_acq-a_T1w", "sub-1_acq-a_T2w"], ["sub-1_acq-aT1w", "sub-1_acq-aT2w"])],
)  # fmt: skip
def test_names_of_bids(names, kept):
    assert list(bids_names(names).values()) == kept
    assert bids_names(names[:1] + ["other"])[names[0]] == bids_names(names[:1])[names[0]]
