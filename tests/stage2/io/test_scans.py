"""Reading what people have: NIfTI, DICOM series, folders; everything else is one sentence."""

import re
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from Stage2.io.dicom import kept_locale
from Stage2.io.names import masks_among
from Stage2.io.scans import ScanFile, find_scans


def write_series(folder: Path, volume: np.ndarray, uid: str = "1.2.3", skip: tuple[int, ...] = ()) -> None:
    """A DICOM series of int16 slices (Z, H, W), 4 mm apart, rows to the back and slices to the head."""
    folder.mkdir(parents=True, exist_ok=True)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for z, values in enumerate(volume):
        if z in skip:
            continue
        image = sitk.GetImageFromArray(values, isVector=values.ndim == 3)
        image.SetSpacing((1.5, 1.5))
        tags = {
            "0008|0060": "MR",
            "0020|000e": uid,
            "0020|000d": "1.2",
            "0008|0018": f"{uid}.{z + 1}",
            "0020|0032": f"-10\\-20\\{4 * z}",
            "0020|0037": "1\\0\\0\\0\\1\\0",
            "0020|0013": str(z + 1),
            "0018|0050": "4",
        }
        for tag, value in tags.items():
            image.SetMetaData(tag, value)
        writer.SetFileName(str(folder / f"{uid}_{99 - z}.dcm"))  # names against the order in space
        with kept_locale():
            writer.Execute(image)


@pytest.fixture(scope="module")
def volume() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 900, (5, 12, 10)).astype(np.int16)


def test_a_dicom_series_is_read_in_the_order_of_space(tmp_path, volume):
    write_series(tmp_path / "case", volume)
    (scan,) = find_scans(tmp_path / "case")
    image = scan.read()
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), volume)
    assert image.GetSpacing() == pytest.approx((1.5, 1.5, 4.0))
    assert image.GetOrigin() == pytest.approx((-10, -20, 0))
    assert (scan.name, scan.is_nifti) == ("case", False)


def test_folders_are_queries_by_name(tmp_path, volume):
    write_series(tmp_path / "b", volume[:2])
    write_series(tmp_path / "a", volume[:2])
    (tmp_path / "empty").mkdir()
    assert [scan.name for scan in find_scans(tmp_path)] == ["a", "b"]
    for name in ("2.nii", "1.nii.gz", "notes.txt", ".hidden.nii.gz"):
        (tmp_path / name).touch()
    assert [scan.name for scan in find_scans(tmp_path)] == ["1", "2", "a", "b"]
    with pytest.raises(FileNotFoundError, match="holds no scan; expected"):
        find_scans(tmp_path / "empty")


def test_uncompressed_nifti_reads_the_same(tmp_path, volume):
    image = sitk.GetImageFromArray(volume)
    for name in ("a.nii", "a.nii.gz"):
        sitk.WriteImage(image, str(tmp_path / name))
        np.testing.assert_array_equal(sitk.GetArrayFromImage(ScanFile(tmp_path / name).read()), volume)
    hashes = {ScanFile(tmp_path / name).content_hash() for name in ("a.nii", "a.nii.gz")}
    assert len(hashes) == 2
    (tmp_path / "a.nii").write_bytes((tmp_path / "a.nii").read_bytes()[:-50])
    with pytest.raises(ValueError, match="truncated or damaged"):
        ScanFile(tmp_path / "a.nii").read()


def save(path: Path, voxels: np.ndarray) -> Path:
    nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), path)
    return path


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda path, _: path, "is missing"),
        (lambda path, _: path.with_name("case"), "does not exist; expected .nii.gz, .nii, .nrrd,"),
        (
            lambda path, _: save(path, np.zeros((3, 3, 3, 2), np.float32)),
            "has 4 dimensions (3 x 3 x 3 x 2) of float32 voxels; expected",
        ),
        (
            lambda path, _: save(path, np.zeros((3, 3, 3), [("R", "u1"), ("G", "u1"), ("B", "u1")])),
            "expected a 3D volume with one value per voxel",
        ),
        (lambda path, _: save(path, np.full((3, 3, 3), np.nan, np.float32)), "has 27 voxel(s) that are not finite"),
        (
            lambda path, volume: write_series(path.parent, volume, skip=(2,)) or path.parent,
            "1 slice(s) missing between 1.2.3_98.dcm and 1.2.3_96.dcm, 8.00 mm apart",
        ),
        (
            lambda path, volume: [write_series(path.parent, volume, uid) for uid in ("1.2.3", "1.2.4")] and path.parent,
            "holds 2 DICOM series (5 file(s) such as 1.2.3_95.dcm, 5 file(s) such as 1.2.4_95.dcm); expected one",
        ),
        (
            lambda path, volume: write_series(path.parent, np.stack([volume] * 3, -1).astype(np.uint8)) or path.parent,
            "is a picture in RGB",
        ),
        (lambda path, _: path.parent, "holds no DICOM series"),
    ],
)
def test_what_is_no_scan_is_one_sentence(tmp_path, volume, make, sentence):
    path = make(tmp_path / "scan.nii.gz", volume)
    with pytest.raises((ValueError, FileNotFoundError), match=re.escape(sentence)) as error:
        ScanFile(path).read()
    assert str(tmp_path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_folder_that_cannot_be_entered_does_not_end_the_listing(tmp_path, volume, monkeypatch):
    for name in ("a", "closed"):
        write_series(tmp_path / name, volume)
    enter = Path.iterdir

    def iterdir(self):
        if self.name == "closed":
            raise PermissionError(13, "Permission denied", str(self))
        return enter(self)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    assert [scan.name for scan in find_scans(tmp_path)] == ["a"]


def test_volumes_of_every_format_in_a_folder_are_scans(tmp_path, volume, caplog):
    image = sitk.GetImageFromArray(volume)
    for name in ("a.nrrd", "a.seg.nrrd", "b.mhd", "c.nhdr", "d.mha", "d_mask.nii.gz", "e.nii"):
        sitk.WriteImage(image, str(tmp_path / name))
    found = find_scans(tmp_path)
    assert [scan.path.name for scan in found] == ["a.nrrd", "b.mhd", "c.nhdr", "d.mha", "e.nii"]
    assert all(np.array_equal(sitk.GetArrayFromImage(scan.read()), volume) for scan in found)
    assert caplog.text.count("is named as the mask of another scan") == 2


def test_what_lies_beside_a_series_is_told(tmp_path, volume, caplog):
    write_series(tmp_path, volume[:2])
    write_series(tmp_path / "other", volume[:2])
    sitk.WriteImage(sitk.GetImageFromArray(volume), str(tmp_path / "a.nrrd"))
    assert find_scans(tmp_path) == [ScanFile(tmp_path)]
    assert "other lies beside a DICOM series" in caplog.text and "a.nrrd lies beside a DICOM series" in caplog.text


def test_masks_of_other_scans_are_no_scans(tmp_path, volume, caplog):
    write_series(tmp_path / "series", volume[:2])
    image = sitk.GetImageFromArray(volume)
    names = ("a", "a_mask", "b_seg", "image_1", "label_1", "label_2", "superpix-MIDDLE_1", "fgmask_1", "series_mask")
    for name in names:
        sitk.WriteImage(image, str(tmp_path / f"{name}.nii.gz"))
    assert [scan.name for scan in find_scans(tmp_path)] == ["a", "b_seg", "image_1", "label_2", "series"]
    assert "a_mask.nii.gz is named as the mask of another scan" in caplog.text
    for name in ("a", "b_seg", "image_1", "label_2"):
        (tmp_path / f"{name}.nii.gz").unlink()
    found = [scan.name for scan in find_scans(tmp_path)]
    assert found == ["a_mask", "fgmask_1", "label_1", "series", "superpix-MIDDLE_1"]


@pytest.mark.parametrize("ending", ["-segmentation", "_MASK", ".labels", "_Seg", "-gt"])
def test_masks_are_known_by_any_usual_ending(ending):
    assert masks_among(["a", "a" + ending, "b" + ending, "mask", "A" + ending]) == {"a" + ending}


@pytest.mark.parametrize("name", ["a.mhd", "a.nhdr", "a.mha", "a.nrrd", "a.nii"])
def test_other_voxels_give_another_hash_wherever_they_lie(tmp_path, volume, name):
    hashes = []
    for voxels in (volume, volume + 1, volume):
        sitk.WriteImage(sitk.GetImageFromArray(voxels), str(tmp_path / name))
        hashes.append(ScanFile(tmp_path / name).content_hash())
    assert hashes[0] == hashes[2] != hashes[1]


def test_voxels_outside_the_folder_of_their_header_are_not_looked_at(tmp_path, volume):
    sitk.WriteImage(sitk.GetImageFromArray(volume), str(tmp_path / "a.mhd"))
    header = (tmp_path / "a.mhd").read_bytes()
    for place in (b"/dev/zero", b"../a.raw", b"absent.raw", b"LIST"):
        (tmp_path / "a.mhd").write_bytes(header.replace(b"a.raw", place))
        assert len(ScanFile(tmp_path / "a.mhd").content_hash()) == 64


@pytest.mark.parametrize("path", [".", "..", "../b/..", "../b/."])
def test_a_folder_that_is_named_by_dots_has_its_own_name(tmp_path, monkeypatch, path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a" / "b")
    assert ScanFile(Path(path)).name == Path(path).resolve().name in ("a", "b")


def test_links_to_nowhere_are_scans_that_fail_and_not_left_out(tmp_path, volume):
    folder, nowhere = tmp_path / "scans", tmp_path / "nowhere"
    write_series(folder / "series", volume)
    first = min((folder / "series").iterdir())
    first.unlink()
    first.symlink_to(nowhere)
    (folder / "a.nii.gz").symlink_to(nowhere)
    (folder / "b.nii.gz").symlink_to(folder / "b.nii.gz")
    found = find_scans(folder)
    assert [scan.name for scan in found] == ["a", "b", "series"]
    for scan in found:
        with pytest.raises((FileNotFoundError, ValueError), match=r"is missing|cannot be read"):
            scan.read()
