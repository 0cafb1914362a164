"""The clean protocol: masks are those that a user gets, and no label of the query reaches them."""

import json
import shutil

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from Stage2 import validation
from Stage2.datasets.volumes import Scan
from Stage2.evaluation.clean_protocol import CleanProtocol
from Stage2.evaluation.metrics import METRICS, compute_metrics
from Stage2.evaluation.protocol import ClassTask, evaluate_scan, support_prototypes
from Stage2.inference.network import load_network
from Stage2.inference.transform import scan_transform
from Stage2.models.few_shot import FewShotSegmenter
from Stage2.predict import Predictor, Support
from Stage2.run_folders.layout import list_runs, read_results, read_scalars
from Stage2.segmentation.matching import place_slices
from Stage2.segmentation.method import Method
from Stage2.segmentation.scans import encode_slices

SIDE = 64


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
    extents = {"9": (0, 4), "1": (0, 8)}
    protocol = CleanProtocol(model, [support], [task], Method(matching, margin=None), extents.get)
    scoring = {"spacing": (5.0, 1.0, 1.0), "metrics": list(METRICS)}
    (result,) = protocol.evaluate(query, **scoring)
    assert protocol.tasks == [task]

    features = [encode_slices(model, scan.image) for scan in (query, support)]
    positions = place_slices(matching, *features, extents["1"], extents["9"])
    for z, place in enumerate(positions):
        part = int(np.argmin([abs(place - s) for s in (1, 2, 3)]))
        one_slice = Scan("1", query.image[z : z + 1], query.label[z : z + 1])
        one_part = ClassTask("RK", 2, support_slices={"9": [part + 1]}, ranges={"1": (0, 0)})
        alone = evaluate_scan(model, one_slice, [one_part], {"RK": [prototypes["RK"][part]]})[0].mask
        assert (alone[0] != result.mask[z]).mean() < 1e-3
    assert result.scores == compute_metrics(result.mask[1:8], query.label[1:8] == 2, (5.0, 1.0, 1.0))
    assert result.whole_scores == compute_metrics(result.mask, query.label == 2, (5.0, 1.0, 1.0))

    erased = Scan("1", query.image, np.zeros_like(query.label))
    no_range = ClassTask("RK", 2, task.support_slices, ranges={})
    (without,) = CleanProtocol(model, [support], [no_range], protocol.method, extents.get).evaluate(erased, **scoring)
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
    monkeypatch.setattr(validation, "build_network", lambda *_: model)
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


@pytest.mark.parametrize(("matching", "support_idx"), [("similarity", [-1]), ("position", [-1, 0])])
def test_masks_are_bit_for_bit_those_that_a_user_gets(matching, support_idx, cohort_folder, snapshot, tmp_path):
    """The same processed scans, snapshot and settings of the method, by the test and by prediction."""
    settings = {
        "protocol": "clean", "slice_matching": matching, "modelname": "dlfcn_res18", "support_idx": support_idx,
        "reload_model_path": str(snapshot), "device": "cpu",
        "path": {"data_dir": str(cohort_folder), "log_dir": str(tmp_path)},
    }  # fmt: skip
    validation.experiment.run(config_updates=settings)
    (run,) = list_runs(next(tmp_path.iterdir()))
    results = read_results(run)
    read = {
        (kind, scan): sitk.ReadImage(str(cohort_folder / f"{kind}_{scan}.nii.gz"))
        for kind in ("image", "label") for scan in range(20)
    }  # fmt: skip
    (supports,) = {tuple(one["scan"] for one in own) for own in results["support"].values()}
    predictor = Predictor(
        load_network(snapshot),
        [Support(read["image", int(scan)], read["label", int(scan)]) for scan in supports],
        [2, 3],
        scan_transform("MR", prepared=True, axes="stored"),
        Method(matching, margin=None),
    )
    found = 0
    for scan in {int(row["scan"]) for row in results["scans"]}:
        probabilities = predictor.segment(read["image", scan]).probabilities
        for label in (2, 3):
            mask = sitk.ReadImage(str(run / "interm_preds" / f"scan_{scan}_label_{label}.nii.gz"))
            np.testing.assert_array_equal(sitk.GetArrayFromImage(mask) > 0, probabilities[label] > 0.5)
            found += (probabilities[label] > 0.5).sum()
    assert found > 0
