"""The clean protocol: where slices are placed, and that no label of the query reaches a mask."""

import itertools
import json
import shutil

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from Stage2 import validation
from Stage2.datasets.volumes import Scan
from Stage2.evaluation.clean_protocol import (
    SliceMatcher,
    body_extent,
    evaluate_scan_cleanly,
    monotone_matching,
    nearest_parts,
    parts_of_slices,
    positions_by_extent,
    slice_similarity,
)
from Stage2.evaluation.metrics import METRICS, compute_metrics
from Stage2.evaluation.protocol import ClassTask, encode_slices, evaluate_scan, support_prototypes
from Stage2.models.few_shot import FewShotSegmenter
from Stage2.run_folders.layout import list_runs, read_results, read_scalars

SIDE = 64


@pytest.mark.parametrize(("n_query", "n_support"), [(1, 1), (1, 4), (4, 1), (3, 4), (5, 3)])
def test_the_matching_is_the_best_of_all_that_do_not_decrease(n_query, n_support):
    for seed in range(5):
        similarity = np.random.default_rng(seed).normal(size=(n_query, n_support))
        ways = itertools.combinations_with_replacement(range(n_support), n_query)
        best = max(ways, key=lambda way: sum(similarity[z, s] for z, s in enumerate(way)))
        assert monotone_matching(similarity).tolist() == list(best)


def test_slices_alike_everywhere_fall_to_the_first():
    assert monotone_matching(np.zeros((3, 4))).tolist() == [0, 0, 0]


def test_a_stretched_scan_in_other_units_finds_its_slices():
    features = torch.from_numpy(np.random.default_rng(0).normal(size=(6, 8, 5, 5))).float()
    places = [0, 0, 1, 2, 2, 3, 4, 5, 5]
    query = 3 * features[places] + 10
    assert monotone_matching(slice_similarity(query, features)).tolist() == places


@pytest.mark.parametrize("depth", [1, 4])
def test_similarity_is_a_cosine_of_pooled_slices_less_their_mean(depth):
    rng = np.random.default_rng(1)
    query, support = rng.normal(size=(depth, 2, 8, 8)), rng.normal(size=(3, 2, 8, 8))

    def plain(scan):
        pooled = scan.reshape(len(scan), 2, 4, 2, 4, 2).mean(axis=(3, 5)).reshape(len(scan), -1)
        pooled = pooled - pooled.mean(axis=0)
        return [row / max(np.linalg.norm(row), 1e-4) for row in pooled]

    expected = [[a @ b for b in plain(support)] for a in plain(query)]
    np.testing.assert_allclose(
        slice_similarity(torch.from_numpy(query), torch.from_numpy(support)), expected, atol=1e-12
    )


def test_the_body_begins_and_ends_with_slices_that_show_a_tenth_of_it():
    volume = np.zeros((6, 20, 20))
    volume[1, 0, 0] = 9  # a bright speck is no body
    volume[2:4, 5:15, 5:15] = 9
    volume[4, 5:10, 5:10] = 9
    assert body_extent(volume, 5) == (2, 4)
    assert body_extent(volume, 10) == (0, 5)


def test_relative_positions_follow_the_body():
    assert positions_by_extent(5, (0, 4), (10, 18)).tolist() == [10, 12, 14, 16, 18]
    assert positions_by_extent(5, (1, 3), (0, 4)).tolist() == [-2, 0, 2, 4, 6]
    assert positions_by_extent(1, (0, 0), (3, 9)).tolist() == [3]


def test_the_nearest_support_slice_is_taken_and_several_supports_agree_on_the_mean():
    assert nearest_parts(np.array([-4, 3, 4, 4.1, 5, 99]), [3, 5, 7]).tolist() == [0, 0, 0, 1, 1, 2]
    task = ClassTask("RK", 2, support_slices={"8": [3, 5, 7], "9": [0, 1, 2]}, ranges={})
    positions = {"8": np.array([3, 7, 3]), "9": np.array([0, 2, 2])}
    assert parts_of_slices(positions, task) == [0, 2, 1]
    assert parts_of_slices({name: values[::-1] for name, values in positions.items()}, task) == [1, 2, 0]


def test_an_unknown_matching_is_named():
    with pytest.raises(ValueError, match="slice_matching=labels is unknown; choose one of similarity, position"):
        SliceMatcher("labels")


def scan_of(name: str, depth: int, seed: int) -> Scan:
    rng = np.random.default_rng(seed)
    label = np.zeros((depth, SIDE, SIDE), dtype=np.uint8)
    label[1:-1, 8:40, 8:40] = 2
    image = rng.normal(0, 0.5, label.shape) + 3 * (label == 2) + np.linspace(0, 2, depth)[:, None, None]
    return Scan(name, image.astype(np.float32), label)


@pytest.mark.parametrize("matching", ["similarity", "position"])
def test_masks_are_those_of_the_placed_support_and_every_slice_is_scored(matching):
    torch.manual_seed(0)
    model = FewShotSegmenter("dlfcn_res18").eval()
    support, query = scan_of("9", 5, seed=1), scan_of("1", 9, seed=2)
    task = ClassTask("RK", 2, support_slices={"9": [1, 2, 3]}, ranges={"1": (1, 7)})
    prototypes = {"RK": support_prototypes(model, [support], task, window=2)}
    features = {"9": encode_slices(model, support.image)}
    matcher = SliceMatcher(matching, features, extents={"9": (0, 4), "1": (0, 8)})
    arguments = ([task], prototypes, matcher, 0, (5.0, 1.0, 1.0), list(METRICS))
    (result,) = evaluate_scan_cleanly(model, query, *arguments)

    positions = matcher.positions("1", encode_slices(model, query.image), ["9"])["9"]
    for z, place in enumerate(positions):
        part = int(np.argmin([abs(place - s) for s in (1, 2, 3)]))
        one_slice = Scan("1", query.image[z : z + 1], query.label[z : z + 1])
        one_part = ClassTask("RK", 2, support_slices={"9": [part + 1]}, ranges={"1": (0, 0)})
        alone = evaluate_scan(model, one_slice, [one_part], {"RK": [prototypes["RK"][part]]}, 0)[0].mask
        assert (alone[0] != result.mask[z]).mean() < 1e-3
    assert result.scores == compute_metrics(result.mask[1:8], query.label[1:8] == 2, (5.0, 1.0, 1.0))
    assert result.whole_scores == compute_metrics(result.mask, query.label == 2, (5.0, 1.0, 1.0))

    erased = Scan("1", query.image, np.zeros_like(query.label))
    no_range = ClassTask("RK", 2, task.support_slices, ranges={})
    (without,) = evaluate_scan_cleanly(model, erased, [no_range], *arguments[1:])
    np.testing.assert_array_equal(without.mask, result.mask)
    assert np.isnan(without.scores["dice"]) and without.slice_range is None
    assert without.whole_scores["dice"] == 0  # what is found where there is nothing counts
    assert np.isnan(without.whole_scores["assd_mm"])


@pytest.fixture(scope="module")
def relabelled_folder(cohort_folder, tmp_path_factory):
    """The cohort with the queries of fold 0 relabelled: scans 0 and 1 erased, the organ numbers of 2 and 3 exchanged
    and moved along z, in label volumes and class map."""
    folder = tmp_path_factory.mktemp("relabelled") / "cohort"
    shutil.copytree(cohort_folder, folder)
    class_map = json.loads((folder / "classmap_1.json").read_text())
    names = {"BG": 0, "LIVER": 1, "RK": 2, "LK": 3, "SPLEEN": 4}
    for scan in "0123":
        image = sitk.ReadImage(str(folder / f"label_{scan}.nii.gz"))
        label = sitk.GetArrayFromImage(image)
        label = np.zeros_like(label) if scan in "01" else np.roll(np.array([0, 4, 3, 1, 2], np.uint8)[label], 1, axis=0)
        changed = sitk.GetImageFromArray(label)
        changed.CopyInformation(image)
        sitk.WriteImage(changed, str(folder / f"label_{scan}.nii.gz"))
        for name, value in names.items():
            class_map[name][scan] = np.flatnonzero((label == value).any(axis=(1, 2))).tolist()
    (folder / "classmap_1.json").write_text(json.dumps(class_map))
    return folder


@pytest.mark.parametrize("matching", ["similarity", "position"])
def test_labels_of_queries_change_scores_but_no_mask(matching, cohort_folder, relabelled_folder, tmp_path, monkeypatch):
    torch.manual_seed(0)
    model = FewShotSegmenter("dlfcn_res18").eval()
    model.encoder = torch.nn.Conv2d(3, 16, 8, stride=8)  # how features are made is all the same here, so be quick
    monkeypatch.setattr(validation, "configured_segmenter", lambda config: model)
    runs = []
    for name, folder in (("own", cohort_folder), ("other", relabelled_folder)):
        settings = {
            "protocol": "clean",
            "slice_matching": matching,
            "surface_distances": matching == "position",
            "modelname": "dlfcn_res18",
            "exp_prefix": name,
            "device": "cpu",
            "path": {"data_dir": str(folder), "log_dir": str(tmp_path)},
        }
        validation.experiment.run(config_updates=settings)
        runs += list_runs(tmp_path / f"mySSL_{name}_CHAOST2_Superpix_sets_0_1shot")
    masks = [
        {path.name: sitk.GetArrayFromImage(sitk.ReadImage(str(path))) for path in (run / "interm_preds").iterdir()}
        for run in runs
    ]
    assert len(masks[0]) == 8 and masks[0].keys() == masks[1].keys()
    for name, mask in masks[0].items():
        np.testing.assert_array_equal(mask, masks[1][name])
    own, other = map(read_results, runs)
    assert (own["protocol"], own["slice_matching"]) == ("clean", matching)
    assert own["scans"] != other["scans"]
    assert {row["dice"] for row in other["scans"] if row["scan"] in "01"} == {None}
    assert "mar_val_batches_meanDice" not in read_scalars(runs[0])
    row = own["scans"][0]
    label = sitk.GetArrayFromImage(sitk.ReadImage(str(cohort_folder / "label_0.nii.gz"))) == row["label"]
    mask = masks[0][f"scan_0_label_{row['label']}.nii.gz"] > 0
    assert row["full_volume"]["dice"] == pytest.approx(2 * (mask & label).sum() / (mask.sum() + label.sum()))
    assert ("hd95_mm" in own["mean"]["full_volume"]) == (matching == "position")
