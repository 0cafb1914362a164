"""Masks to take home: one archive, BIDS derivatives, DICOM-SEG that refers to its series."""

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

from Stage2.serving.exports import bids_name


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
        labels = [{"value": 2, "name": "liver", "colour": "#e69f00"}, {"value": 5, "name": "my", "colour": "#56b4e9"}]
        client.put("/api/labels", json={"labels": labels})
        answer = client.get(f"{address}/mask.dcm")
    assert (folder / "case 1_mask.nii.gz").is_file()
    assert answer.headers["content-type"] == "application/dicom", answer.text
    found = highdicom.seg.segread(io.BytesIO(answer.content))
    described = [found.get_segment_description(number) for number in (1, 2)]
    assert [(own.segment_label, own.segmented_property_type.value) for own in described] == [
        ("liver", "10200004"), ("my", "113343008")
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


@pytest.mark.parametrize(
    ("name", "kept"),
    [("sub-01_T2w", "sub-01"), ("sub-01_ses-2_desc-x_T2w", "sub-01_ses-2"), ("my scan-3", "sub-MyScan3"),
     ("../..", "sub-unnamed")],
)  # fmt: skip
def test_names_of_bids(name, kept):
    assert bids_name(name) == kept
