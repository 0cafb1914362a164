"""A sound folder passes the check; every fault that users make is named: file, found, expected, remedy."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
from stage2.preparation.check.spoiling import (
    IDS,
    OWN,
    change,
    edit_class_map,
    flip,
    relabel,
    respace,
    reverse_header,
    save,
    scan_voxels,
    set_voxel,
    truncate,
)

from Stage2.io.volumes import read_volume
from Stage2.preparation.check.folder import CheckReport, check_folder
from Stage2.preparation.steps.superpixels import prepare_folder


def test_a_sound_folder(sound, tmp_path):
    report = check_folder(sound, OWN, out=tmp_path, workers=2)
    assert report.problems == [] and report.notes == []
    assert report.summary() == [
        "own: 3 slices in each of 5 scan(s)",
        *[line for line in report.summary() if re.fullmatch(r"superpixels \(MIDDLE\) per slice: .*", line)],
        "fold 0: tests 1, 2, 3; support 5; trains on 1 scan(s)",
        "fold 1: tests 5, 10; support 1; trains on 2 scan(s)",
    ]
    content = json.loads((tmp_path / "check.json").read_text())
    assert content["sound"] is True and content["problems"] == []
    assert content["folds"][1] == {"train": ["2", "3"], "test": ["5", "10"], "support": ["1"]}
    facts = content["scans"][2]
    image, label = scan_voxels(2)
    superpixels = sitk.GetArrayFromImage(read_volume(sound / "superpix-MIDDLE_3.nii.gz"))
    numbers = [len(np.unique(plane[plane > 0])) for plane in superpixels]
    assert facts["id"] == "3" and facts["size"] == [3, 256, 256] and facts["spacing"] == [7.7, 1.25, 1.25]
    assert facts["orientation"] == "LAS"
    assert facts["intensities"]["max"] == pytest.approx(image.max(), abs=1e-3)
    assert facts["intensities"]["std"] == pytest.approx(image.std(), abs=1e-2)
    assert facts["pixels"] == {name: int((label == value).sum()) for name, value in OWN.classes.items()}
    assert facts["slices"]["RK"] == {"1": [0, 1, 2], "100": [0, 1, 2]}
    assert facts["superpixels"] == {
        "min": min(numbers), "median": np.median(numbers), "max": max(numbers), "slices": 3,
    }  # fmt: skip
    assert facts["centres"]["LK"][2] == pytest.approx(7.7, abs=0.01)
    assert sorted(path.name for path in (tmp_path / "contact_sheets").iterdir()) == sorted(
        f"scan_{scan_id}.png" for scan_id in IDS
    )
    assert not list(tmp_path.rglob(".*"))


FAULTS = [
    # sizes, files
    (lambda f: (f / "label_3.nii.gz").unlink(), r"label_3\.nii\.gz is missing"),
    (lambda f: (f / "image_3.nii.gz").rename(f.parent / "x"), r"label_3\.nii\.gz has no image_3\.nii\.gz beside it"),
    (lambda f: (f / "image_3.nii.gz").rename(f.parent / "x"), r"own has folds for 5 scans, but 4 were found"),
    (lambda f: truncate(f, "image_3.nii.gz"), r"image_3\.nii\.gz is truncated or damaged .* copy or download it again"),
    (lambda f: truncate(f, "label_3.nii.gz", 20), r"label_3\.nii\.gz is truncated or damaged"),
    (
        lambda f: change(f, "image", "3", lambda v: v[:, :, :200]),
        r"image_3.* slices of 256 x 200 .*; expected 256",
    ),
    (lambda f: change(f, "image", "3", np.transpose), r"image_3.* slices along the first axis; .* reorder"),
    (lambda f: change(f, "label", "3", lambda v: v[:2]), r"label_3.* has 256 x 256 x 2 voxels .* one grid"),
    # spacing, orientation
    (lambda f: respace(f, "3"), r"image_3.* voxels of 1 x 1 x 1 mm; expected 1\.25 x 1\.25 x 7\.7 mm .* resample it"),
    (
        lambda f: save(f / "label_3.nii.gz", scan_voxels(2)[1], spacing=(1, 1, 7.7)),
        r"label_3.* lies elsewhere than .* voxels of 1 x 1 x 7\.7 mm against .* 1\.25 x 1\.25 x 7\.7 mm",
    ),
    (
        lambda f: reverse_header(f, "3"),
        r"image_3.* has columns that run to the patient's right, rows to the front, .*; expected .* the patient's left",
    ),
    # labels
    (lambda f: relabel(f, "3", {3: 63}), r"label_3.* label values \[63\] belong to no class; expected .* Correct its"),
    (lambda f: relabel(f, "3", {1: 0, 2: 0, 3: 0}), r"label_3.* holds background only; expected some of the classes"),
    (lambda f: relabel(f, "5", {2: 0}), r"label_5.* has no voxel of RK, but scan 5 is the support of fold 0"),
    (lambda f: [relabel(f, scan, {3: 0}) for scan in IDS], r"has no voxel of LK \(label 3\) in any label"),
    (lambda f: relabel(f, "3", {1: 3, 3: 1}), r"label_3.* has LIVER and LK the other way round: .* columns"),
    (lambda f: flip(f, "3", 1), r"label_3.* has LIVER and RK the other way round: .* rows; expected about -"),
    # intensities
    (lambda f: change(f, "image", "3", set_voxel(np.nan)), r"image_3.* has 1 voxel\(s\) that are not finite; replace"),
    (lambda f: change(f, "image", "3", set_voxel(np.inf)), r"image_3.* has 1 voxel\(s\) that are not finite; replace"),
    (lambda f: change(f, "image", "3", lambda v: v * 0 + 7), r"image_3.* has the value 7 in all voxels; expected an"),
    (lambda f: change(f, "image", "3", lambda v: v / 900), r"image_3.* has no voxel above the foreground threshold 50"),
    (lambda f: change(f, "image", "3", lambda v: v + 99), r"image_3.* has 100\.0 % of the voxels above the foreground"),
    (lambda f: change(f, "image", "3", lambda v: v.clip(0, 60)), r"image_3.* \d+ % of the body at its highest value"),
    (lambda f: change(f, "image", "3", lambda v: v / 900), r"image_3.* intensities up to .*expected up to about"),
    # superpixels, class maps
    (lambda f: (f / "superpix-MIDDLE_3.nii.gz").unlink(), r"superpix-MIDDLE_<id>.* is missing for scan 3; expected .*"),
    (lambda f: change(f, "superpix-MIDDLE", "3", lambda v: v[1:]), r"superpix-MIDDLE_3.* has 256 x 256 x 2 voxels"),
    (lambda f: change(f, "superpix-MIDDLE", "3", lambda v: v - 1), r"superpix-MIDDLE_3.* negative or not whole"),
    (lambda f: change(f, "superpix-MIDDLE", "3", lambda v: v // 999), r"superpix-MIDDLE_3.* has 0 segment\(s\) in the"),
    (
        lambda f: change(f, "superpix-MIDDLE", "3", lambda v: np.roll(v, 50, axis=2)),
        r"superpix-MIDDLE_3.* has \d+ % of its segments' voxels outside the body .* --force",
    ),
    (lambda f: (f / "classmap_1.json").unlink(), r"classmap_1\.json is missing; .*/prepare_data\.py superpixels"),
    (lambda f: (f / "classmap_1.json").write_text('{"BG": {'), r"classmap_1\.json is cut short or no class map"),
    (
        edit_class_map,
        r"classmap_100.* has slices 0 for RK in scan 5; expected slices 0, 1, 2, as its label says \(1 such",
    ),
]


@pytest.mark.parametrize(("spoil", "sentence"), FAULTS, ids=[sentence[:40] for _, sentence in FAULTS])
def test_a_fault_is_named(cohort, spoil, sentence):
    spoil(cohort)
    report = check_folder(cohort, OWN)
    matching = [problem for problem in report.problems if re.search(sentence, problem)]
    assert len(matching) == 1, report.problems
    assert str(cohort) in matching[0]
    assert json.loads((cohort / "check.json").read_text())["problems"] == report.problems


def test_the_faults_of_several_scans_come_together(cohort):
    change(cohort, "image", "3", set_voxel(np.nan))
    relabel(cohort, "10", {1: 99})
    report = check_folder(cohort, OWN)
    assert len(report.problems) == 2 and "image_3" in report.problems[0] and "label_10" in report.problems[1]
    sheets = {path.name for path in (cohort / "contact_sheets").iterdir()}
    assert "scan_3.png" not in sheets and "scan_10.png" in sheets


def notes(report: CheckReport) -> str:
    assert report.problems == []
    return "\n".join(report.notes)


def test_what_may_be_right_is_a_note(cohort):
    relabel(cohort, "3", {2: 0})  # no support scan
    change(cohort, "image", "10", lambda voxels: np.concatenate([voxels[:-1], voxels[-1:] * 0]))
    prepare_folder(cohort, OWN)
    assert "RK (label 2) is absent from scan 3." in notes(check_folder(cohort, OWN))
    assert "the last slice is blank, as the published resampling leaves it, in scan 10." in notes(
        check_folder(cohort, OWN)
    )


def test_a_support_with_few_good_slices_is_a_note(cohort):
    change(cohort, "label", "5", lambda label: np.where((label == 2) & (np.arange(3) > 0)[:, None, None], 0, label))
    prepare_folder(cohort, OWN)
    told = notes(check_folder(cohort, OWN))
    assert told == "fewer than 3 slices with 100 or more pixels: RK in scan 5 (fold 0): poor supports."


def test_organs_without_a_usual_place_raise_no_alarm(cohort):
    def move(label: np.ndarray, pixels: int) -> np.ndarray:
        kidney = np.roll(label == 2, pixels, axis=2)
        return np.where(kidney, 2, np.where(label == 2, 0, label)).astype(np.uint8)

    for scan_id, pixels in zip(IDS, (0, 30, 60, 80, 160), strict=True):
        change(cohort, "label", scan_id, lambda label, pixels=pixels: move(label, pixels))
    report = check_folder(cohort, OWN)
    centres = report.cohort.scans[-1].centres
    assert centres["RK"][0] > centres["LK"][0], "alone on the other side"
    assert [problem for problem in report.problems if "the other way round" in problem] == []


def test_a_cohort_of_own_spacing_is_told_its_range(cohort):
    respace(cohort, "3")
    told = notes(check_folder(cohort, replace(OWN, spacing=None)))
    assert told == "voxels run from 1 x 1 x 1 mm to 1.25 x 1.25 x 7.7 mm."


def test_without_labels_there_is_only_training(cohort):
    for path in (*cohort.glob("label_*"), *cohort.glob("classmap_*")):
        path.unlink()
    assert "there are no labels" in notes(check_folder(cohort, OWN))


def test_other_superpixels_are_told(cohort):
    remade = replace(OWN, foreground_threshold=60)
    report = check_folder(cohort, remade)
    assert len(report.problems) == 5
    assert "made with other settings (Felzenszwalb scale 1 sigma 1 min_size 400; foreground > 50.0001)" in str(
        report.problems[0]
    )


def test_the_small_scale_end_to_end(cohort):
    assert (
        "superpix-SMALL_<id>.nii.gz is missing for scans 1, 2" in check_folder(cohort, OWN, scale="SMALL").problems[0]
    )
    prepare_folder(cohort, OWN, scale="SMALL")
    small = check_folder(cohort, OWN, scale="SMALL")
    middle = check_folder(cohort, OWN)
    assert small.problems == middle.problems == []
    for finer, coarser in zip(small.cohort.scans, middle.cohort.scans, strict=True):
        assert finer.superpixels["median"] > coarser.superpixels["median"]
    written = sitk.GetArrayFromImage(read_volume(cohort / "superpix-SMALL_1.nii.gz"))
    assert min(np.bincount(plane[plane > 0])[1:].min() for plane in written) < 400


@pytest.mark.parametrize(
    ("folder", "settings", "message"),
    [
        ("absent", {}, "absent is not a folder"),
        (".", {}, "has no image_<id>.nii.gz"),
        ("cohort", {"scale": "LARGE"}, "superpixel scale 'LARGE' is unknown; choose one of MIDDLE, SMALL"),
        ("cohort", {"workers": 0}, "0 workers cannot work"),
    ],
)
def test_what_cannot_be_checked(cohort, folder, settings, message):
    with pytest.raises((FileNotFoundError, ValueError), match=message):
        check_folder(cohort.parent / folder, OWN, **settings)


def test_a_read_only_folder_can_be_checked_elsewhere(sound, tmp_path, monkeypatch):
    monkeypatch.setattr("Stage2.preparation.check.folder.os.access", lambda *_: False)
    with pytest.raises(PermissionError, match=r"read-only; write the report elsewhere with --out DIR"):
        check_folder(sound, OWN)
    assert not (sound / "check.json").exists()
