"""Scans that clients send: kept under a plain name, never over another, refused in one line."""

import gzip
import struct

import nibabel
import numpy as np
import pytest
from stage2.serving.served import fill, serving

from Stage2.serving.refusals import Refusal
from Stage2.serving.settings import Limits
from Stage2.serving.uploads import plain_name


def send(client, content: bytes, name: str = "new.nii.gz"):
    return client.post("/api/scans", files={"file": (name, content)})


def packed(header: nibabel.Nifti1Header, rest: bytes = b"") -> bytes:
    return gzip.compress(bytes(header.binaryblock) + bytes(4) + rest, mtime=0)


def header(shape: tuple[int, ...]) -> nibabel.Nifti1Header:
    head = nibabel.Nifti1Header()
    head.set_data_dtype(np.float32)
    head.set_data_shape(shape)
    head["vox_offset"], head["magic"], head["sform_code"] = 352, b"n+1", 1
    head.set_sform(np.eye(4))
    return head


def test_a_scan_is_taken_as_it_is_and_listed(client, folder):
    content = (folder / "b.nii.gz").read_bytes()
    answer = send(client, content, "../../my scan;<b>.nii.gz")
    assert (answer.status_code, answer.json()["name"]) == (201, "my_scan_b")
    assert (folder / "my_scan_b.nii.gz").read_bytes() == content
    assert client.get("/api/scans/my_scan_b/thumbnail.png").status_code == 200
    plain = send(client, gzip.decompress(content), "plain.nii")
    assert plain.status_code == 201
    taken = ("my_scan_b.nii.gz", "b.nii", "b_mask.nii.gz")
    for name, status in (*((name, 409) for name in taken), ("x.dcm", 415), ("..", 415), ("_.nii", 422)):
        assert send(client, content, name).status_code == status, name
    assert (folder / "b.nii.gz").read_bytes() == content


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"hello", "is no NIfTI file"),
        (packed(header((4, 4, 4)), bytes(100)), "truncated or damaged"),
        (packed(header((4, 4, 4)), struct.pack("<64f", *[np.nan] * 64)), "not finite"),
        (packed(header((4000, 4000, 4000))), "crop or resample it"),
        (packed(header((4, 4, 4, 9))), "expected a 3D volume"),
        (packed(header((4, 4, 4)), bytes(1 << 25)), "holds more than"),
        (b"\x1f\x8b" + b"\0" * 500, "truncated or damaged"),
    ],
    ids=["text", "cut", "not finite", "huge", "4D", "longer than told", "zeros"],  # bytes would differ by machine
)
def test_damaged_huge_and_hostile_files_are_one_line(client, folder, content, said):
    answer = send(client, content)
    assert answer.status_code == 422
    assert said in answer.json()["error"]
    assert answer.json()["error"].startswith("new.nii.gz")
    assert not (folder / "new.nii.gz").exists()
    assert list((folder / ".workbench" / "uploads").iterdir()) == []


def test_forms_without_a_file_and_too_many_scans(tmp_path):
    folder = fill(tmp_path / "scans")
    with serving(folder, limits=Limits(scans=4)) as client:
        content = (folder / "b.nii.gz").read_bytes()
        assert client.post("/api/scans", data={"file": "text"}).status_code == 400
        assert client.post("/api/scans", content=b"no form").status_code == 400
        assert send(client, content, "d.nii.gz").status_code == 201
        assert "4 are the most" in send(client, content, "e.nii.gz").json()["error"]


@pytest.mark.parametrize(
    ("name", "kept"),
    [("a.nii", "a.nii"), ("C:\\x\\b.NII.GZ", "b.nii.gz"), ("noending", "noending.nii.gz"), ("é è.nii.gz", None),
     (".hidden.nii.gz", "hidden.nii.gz"), ("x" * 300 + ".nii.gz", "x" * 80 + ".nii.gz"), ("a\nb.nii.gz", "a_b.nii.gz")],
)  # fmt: skip
def test_names(name, kept):
    if kept is None:
        with pytest.raises(Refusal, match="rename it"):
            plain_name(name)
    else:
        assert plain_name(name) == kept
