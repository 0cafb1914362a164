"""A data set of one's own, found and prepared by what its YAML file says."""

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from stage2.preparation.drawn_archives import draw_abdomen, write_series, zip_folder

from Stage2.datasets.catalog import get_dataset
from Stage2.preparation.data_sets import get_raw_data_set
from Stage2.preparation.raw.source import open_source
from Stage2.preparation.steps.convert import make_folder, plan_folder
from Stage2.preparation.steps.transform import CHAOS_TRANSFORM, SABS_TRANSFORM
from Stage2.preparation.transform_file import read_preparation

HEAD = """
name: mine
modality: MR
classes: {background: 0, liver: 1, right: 2, left: 3, spleen: 4}
evaluated: [1, 2, 3, 4]
label_sets: {0: [1, 4]}
folds: [0, 2, 4]
foreground_threshold: 50
"""
IMAGE, LABEL = draw_abdomen(side=32, depth=3)


def config(folder: Path, preparation: str) -> Path:
    path = folder / "mine.yaml"
    path.write_text(f"{HEAD}preparation:\n" + "".join(f"  {line}\n" for line in preparation.splitlines()))
    return path


def write(path: Path, voxels: np.ndarray, **options) -> None:
    image = sitk.GetImageFromArray(voxels)
    image.SetSpacing((1.5, 1.5, 6))
    image.SetDirection((-1, 0, 0, 0, -1, 0, 0, 0, 1))
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, str(path), **options)


def read_all(config_path: Path, source: Path) -> dict[str, list[np.ndarray]]:
    scans = get_raw_data_set(str(config_path)).list_scans(open_source(source))
    return {scan.id: [sitk.GetArrayFromImage(volume) for volume in scan.read()] for scan in scans}


@pytest.mark.parametrize("suffix", ["nii.gz", "nii", "nrrd", "mha", "mhd", "nhdr"])
@pytest.mark.parametrize("zipped", [False, True], ids=["folder", "zip"])
def test_every_format_from_folder_and_archive(tmp_path, suffix, zipped):
    data = tmp_path / "data"
    for scan in ("3", "12"):
        write(data / f"set/images/case_{scan}_MR.{suffix}", IMAGE + np.int16(scan))
        write(data / f"set/labels/case_{scan}.{suffix}", LABEL, useCompression=suffix.startswith("n"))
    file = config(
        tmp_path, f"images: images/case_{{scan}}_*.{suffix}\nlabels: labels/case_{{scan}}.{suffix}\npercentile: 99"
    )
    found = read_all(file, zip_folder(data, tmp_path / "data.zip") if zipped else data)
    assert list(found) == ["3", "12"]
    for scan, (image, label) in found.items():
        assert np.array_equal(image, IMAGE + np.int16(scan)) and np.array_equal(label, LABEL)


def test_dicom_series_with_labels_orientation_and_label_values(tmp_path):
    stored = np.array([0, 200, 500, 600, 420], np.int16)[LABEL]
    for name in ("anna", "bob", "bob9", "bob10"):
        write_series(tmp_path / f"data/{name}/dicom", IMAGE)
        label = sitk.GetImageFromArray(stored)
        label.CopyInformation(sitk.ReadImage(sorted(str(p) for p in (tmp_path / f"data/{name}/dicom").iterdir())))
        sitk.WriteImage(label, str(tmp_path / f"data/{name}/mask.nrrd"))
    preparation = (
        "images: '{scan}/dicom/'\nlabels: '{scan}/mask.nrrd'\norientation: LAS\npercentile: 99\n"
        "label_values: {200: 1, 500: 2, 600: 3, 420: 4}"
    )
    found = read_all(config(tmp_path, preparation), tmp_path / "data")
    assert list(found) == ["0", "1", "2", "3"]
    for image, label in found.values():
        assert np.array_equal(image, IMAGE[:, ::-1]) and np.array_equal(label, LABEL[:, ::-1])
        assert label.dtype == np.uint8
    scans = get_raw_data_set(str(tmp_path / "mine.yaml")).list_scans(open_source(tmp_path / "data"))
    assert [scan.files[-1] for scan in scans] == [f"{name}/mask.nrrd" for name in ("anna", "bob", "bob9", "bob10")]


def test_the_built_in_recipes_can_be_written_as_a_file(tmp_path):
    mr = config(tmp_path, "images: a{scan}\npercentile: 99.5\nspacing: [1.25, 1.25, 7.7]")
    assert read_preparation(mr)[1] == CHAOS_TRANSFORM
    ct = config(tmp_path, "images: a{scan}\nwindow: [-125, 275]\nborder: 32\ncoarsening: 1.75\ncrop: none")
    assert read_preparation(ct)[1] == SABS_TRANSFORM


def test_the_example_can_be_used():
    raw = get_raw_data_set(str(Path(__file__).resolve().parents[4] / "examples/datasets/raw_ct.yaml"))
    assert raw.data_set.n_folds == 5 and raw.transform.spacing == (1.5, 1.5, 5)


def test_the_same_file_is_the_data_set_for_training(tmp_path):
    data_set = get_dataset(str(config(tmp_path, "images: a{scan}\npercentile: 99")))
    assert data_set.name == "mine" and data_set.label_values is None


def test_without_labels_masks_are_no_scans(tmp_path, caplog):
    for name in ("s0", "s0_mask", "s1", "s1-seg", "s2"):
        write(tmp_path / f"data/{name}.mhd", IMAGE)
    file = config(tmp_path, "images: '{scan}.mhd'\npercentile: 99")
    scans = get_raw_data_set(str(file)).list_scans(open_source(tmp_path / "data"))
    assert {scan.id: scan.files[0] for scan in scans} == {"0": "s0.mhd", "1": "s1.mhd", "2": "s2.mhd"}
    for name in ("s0_mask.mhd", "s1-seg.mhd"):
        assert f"data/{name} is named as the mask of another scan" in caplog.text


OK = "images: i{scan}.mha\nlabels: l{scan}.mha\n"
MISTAKES = {
    "no part": ("", "preparation is missing"),
    "a misspelt key": (OK + "windw: [0, 1]", "has windw, which is no key of it; the nearest one is window"),
    "no images": ("labels: l{scan}\npercentile: 99", "has no images"),
    "no scan": ("images: i.mha\npercentile: 99", r"images is 'i\.mha'; expected a path below SRC with {scan} once"),
    "outside": ("images: ../i{scan}.mha\npercentile: 99", "expected a path below SRC"),
    "labels of DICOM": ("images: i{scan}\nlabels: l{scan}/\npercentile: 99", "a folder; expected a volume"),
    "no intensities": (OK, "neither of window and percentile"),
    "both intensities": (OK + "window: [0, 1]\npercentile: 99", "both of window and percentile"),
    "both spacings": (OK + "percentile: 99\nspacing: [1, 1, 1]\ncoarsening: 2", "both of spacing and coarsening"),
    "a window of one": (OK + "window: [5]", r"window is \[5\]"),
    "a turned window": (OK + "window: [5, -5]", r"window is \[5, -5\]"),
    "a percentile above 100": (OK + "percentile: 101", "percentile is 101"),
    "a spacing of 0": (OK + "percentile: 99\nspacing: [1, 1, 0]", r"spacing is \[1, 1, 0\]"),
    "a coarsening of words": (OK + "percentile: 99\ncoarsening: much", "coarsening is 'much'"),
    "a negative border": (OK + "percentile: 99\nborder: -1", "border is -1"),
    "another crop": (OK + "percentile: 99\ncrop: left", "crop is 'left'"),
    "another flag": (OK + "percentile: 99\ndrop_blank_slice: 1", "drop_blank_slice is 1"),
    "another orientation": (OK + "percentile: 99\norientation: LRS", "orientation is 'LRS'"),
    "label values of nothing": ("images: i{scan}\npercentile: 99\nlabel_values: {9: 1}", "label_values but no labels"),
    "label values without a class": (OK + "percentile: 99\nlabel_values: {9: 1}", "no value to the evaluated label 2"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_in_the_file(tmp_path, name):
    preparation, message = MISTAKES[name]
    with pytest.raises(ValueError, match=f"mine.yaml: .*{message}"):
        read_preparation(config(tmp_path, preparation))


def test_label_values_stand_in_one_place(tmp_path):
    path = config(tmp_path, OK + "percentile: 99")
    path.write_text(path.read_text() + "label_values: {1: 1, 2: 2, 3: 3, 4: 4}\n")
    with pytest.raises(ValueError, match="move label_values into preparation"):
        get_dataset(str(path))


DAMAGES = {
    "no image": (lambda d: [path.unlink() for path in d.glob("i*")], r"has no i{scan}\.mha"),
    "a missing image": (lambda d: (d / "i2.mha").unlink(), r"l2\.mha has no image \(1 such"),
    "a missing label": (lambda d: (d / "l2.mha").unlink(), r"i2\.mha has no label \(1 such"),
    "one scan twice": (lambda d: write(d / "more/i2.mha", IMAGE), r"has i2\.mha and more/i2\.mha for scan 2"),
    "one number twice": (
        lambda d: [write(d / f"{kind}02.mha", LABEL) for kind in "il"],
        r"has i02\.mha and i2\.mha, which are one number",
    ),
    "another size": (lambda d: write(d / "l2.mha", LABEL[:2]), r"l2\.mha has 32 x 32 x 2 voxels"),
    "another place": (
        lambda d: sitk.WriteImage(sitk.GetImageFromArray(LABEL), str(d / "l2.mha")),
        r"l2\.mha lies elsewhere than i2\.mha.*LPS, voxels of 1 x 1 x 1 mm against RAS, voxels of 1\.5 x 1\.5 x 6 mm",
    ),
    "a label of no class": (lambda d: write(d / "l2.mha", LABEL + np.uint8(3)), r"l2\.mha: label values \[5, 6, 7\]"),
    "two dimensions": (
        lambda d: sitk.WriteImage(sitk.Image(8, 8, sitk.sitkInt16), str(d / "i2.mha")),
        r"i2\.mha has 2 dimensions",
    ),
    "colours": (
        lambda d: sitk.WriteImage(sitk.Image([8, 8, 8], sitk.sitkVectorUInt8, 3), str(d / "i2.mha")),
        r"3 value\(s\) per voxel",
    ),
    "not finite": (
        lambda d: write(d / "i2.mha", np.where(IMAGE > 500, np.inf, IMAGE).astype(np.float32)),
        r"i2\.mha has \d+ voxel\(s\) that are not finite",
    ),
    "cut short": (
        lambda d: (d / "i2.mha").write_bytes((d / "i2.mha").read_bytes()[:2000]),
        r"i2\.mha is truncated or damaged; copy",
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_what_does_not_fit_is_named(tmp_path, name):
    damage, message = DAMAGES[name]
    data = tmp_path / "data"
    for scan in "12":
        write(data / f"i{scan}.mha", IMAGE)
        write(data / f"l{scan}.mha", LABEL)
    damage(data)
    with pytest.raises(ValueError, match=message):
        read_all(config(tmp_path, OK + "percentile: 99"), data)


@pytest.mark.parametrize("suffix", ["nii", "nii.gz", "nrrd"])
def test_truncated_volumes(tmp_path, suffix):
    write(tmp_path / f"data/1.{suffix}", IMAGE)
    path = tmp_path / f"data/1.{suffix}"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="damaged"):
        read_all(config(tmp_path, f"images: '{{scan}}.{suffix}'\npercentile: 99"), tmp_path / "data")


def ellipsoids(shape: tuple[int, int, int], spacing: list[float], sizes: list[float]) -> np.ndarray:
    """Four organs as large as those of an adult (mm), on a grid (Z, H, W)."""
    places = np.stack(
        np.meshgrid(*(np.arange(n) * step for n, step in zip(shape, spacing, strict=True)), indexing="ij")
    )
    extent = np.multiply(shape, spacing)
    label = np.zeros(shape, np.uint8)
    organs = (
        ((0.5, 0.35, 0.3), 75, 75),
        ((0.45, 0.68, 0.35), 30, 55),
        ((0.5, 0.68, 0.7), 30, 55),
        ((0.5, 0.4, 0.75), 40, 55),
    )
    for value, ((z, y, x), radius, height) in enumerate(organs, start=1):
        middle = extent * (z, y, x)
        radii = np.multiply((height, radius, radius), sizes[value - 1])
        label[(((places - middle[:, None, None, None]) / radii[:, None, None, None]) ** 2).sum(axis=0) < 1] = value
    return label


def share_of(value: int, label: sitk.Image, grid: sitk.Image) -> np.ndarray:
    """Voxels of a grid of which a label of another grid takes one half or more."""
    alone = sitk.Cast(label == value, sitk.sitkFloat32)
    return sitk.GetArrayFromImage(sitk.Resample(alone, grid, sitk.Transform(), sitk.sitkLinear, 0.0)) >= 0.5


# The sizes of CHAOS: voxels of 1.4 to 1.9 mm, slices 5.5 to 9 mm apart.
@settings(max_examples=8, deadline=None, derandomize=True, phases=[Phase.generate])
@given(
    pixel=st.floats(1.4, 1.9),
    step=st.floats(5.5, 9.0),
    turned=st.sampled_from([(1, 1), (-1, -1), (1, -1)]),
    angle=st.floats(-0.1, 0.1),
    sizes=st.lists(st.floats(0.95, 1.1), min_size=4, max_size=4),
    recipe=st.sampled_from(
        ["percentile: 99.5\nspacing: [1.25, 1.25, 7.7]", "window: [0, 400]\ncoarsening: 0.8\ndrop_blank_slice: true"]
    ),
    orientation=st.sampled_from(["LAS", "RPI"]),
)
def test_labels_keep_their_place_and_volume(tmp_path_factory, pixel, step, turned, angle, sizes, recipe, orientation):
    """Prepared and mapped back to the raw grid, organs differ by 3 % of their volume and one voxel at most."""
    folder = tmp_path_factory.mktemp("organs")
    label = sitk.GetImageFromArray(ellipsoids((int(220 / step), 160, 160), [step, pixel, pixel], sizes))
    label.SetSpacing((pixel, pixel, step))
    label.SetOrigin((-70.5, 40.25, 1000))
    cosine, sine = np.cos(angle), np.sin(angle)
    rotation = np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]])
    label.SetDirection((rotation @ np.diag([*turned, turned[0] * turned[1]])).ravel().tolist())
    sitk.WriteImage(label, str(folder / "1_seg.nii.gz"))
    sitk.WriteImage(sitk.Cast(label, sitk.sitkInt16) * 100, str(folder / "1.nii.gz"))
    file = config(
        folder, f"images: '{{scan}}.nii.gz'\nlabels: '{{scan}}_seg.nii.gz'\norientation: {orientation}\n{recipe}"
    )
    raw = get_raw_data_set(str(file))
    out = tmp_path_factory.mktemp("out")
    plan = plan_folder(raw.list_scans(open_source(folder)), out, "mine", raw.transform)
    make_folder(plan)
    prepared = sitk.ReadImage(str(out / "label_1.nii.gz"))
    assert prepared.GetSize()[:2] == (256, 256)
    before = sitk.GetArrayFromImage(label)
    for value in range(1, 5):
        after = share_of(value, prepared, label)
        assert abs(after.sum() / (before == value).sum() - 1) <= 0.03
        shift = np.argwhere(after).mean(axis=0) - np.argwhere(before == value).mean(axis=0)
        assert np.abs(shift).max() <= 1
