"""A whole test run through the entry point, ResNet-101 on a cohort of 20 scans: predictions and scores as published."""

import json

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from golden.weights import GOLDEN, fill_weights, load_golden
from Stage2.models.few_shot import FewShotSegmenter
from Stage2.run_folders.layout import experiment_folder, list_runs, prediction_path, read_results
from Stage2.validation import experiment

LABELS = {0: (2, 3), 1: (1, 4)}


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory):
    path = tmp_path_factory.mktemp("snapshot") / "0.pth"
    torch.save(fill_weights(FewShotSegmenter("dlfcn_res101").state_dict(), bn3_weight=0.1), path)
    return path


@pytest.fixture(scope="module")
def slices_encoded_once(snapshot):
    """Both runs test the same scans with the same weights, and encoding them is nearly all of the work."""
    encode, features, weights = FewShotSegmenter.encode, {}, torch.load(snapshot, weights_only=True)

    def encode_once(self, images):
        state = self.state_dict()
        assert not self.training and all(torch.equal(state[key], value) for key, value in weights.items())
        keys = [image.numpy().tobytes() for image in images]
        new = {key: image for key, image in zip(keys, images, strict=True) if key not in features}
        if new:
            features.update(zip(new, encode(self, torch.stack(list(new.values()))), strict=True))
        return torch.stack([features[key] for key in keys])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FewShotSegmenter, "encode", encode_once)
        yield


@pytest.mark.parametrize("label_set", [0, 1])
@pytest.mark.usefixtures("slices_encoded_once")
def test_published_test_run(label_set, snapshot, tmp_path):
    golden = json.loads((GOLDEN / f"s2g_val_set{label_set}.json").read_text())
    labels = LABELS[label_set]
    assert tuple(golden["config"]["test_labels"]) == labels
    experiment.run(
        config_updates={
            "label_sets": label_set,
            "reload_model_path": str(snapshot),
            "support_idx": golden["config"]["support_idx"],
            "n_sup_part": golden["config"]["n_sup_part"],
            "val_wsize": golden["config"]["val_wsize"],
            "z_margin": golden["config"]["z_margin"],
            "path": {"data_dir": str(GOLDEN / "chaos_like"), "log_dir": str(tmp_path)},
            "device": "cpu",
        }
    )
    run = list_runs(experiment_folder(tmp_path, "", "CHAOST2_Superpix", label_set))[-1]
    near_tie = golden["near_tie_1e3"]

    predicted = published_predictions(label_set)
    for (label, scan), mask in predicted.items():
        own = sitk.GetArrayFromImage(sitk.ReadImage(str(prediction_path(run, str(scan), label))))
        # Every slice of the scan is compared, also those outside the class's range.
        assert (own != mask).mean() <= 2 * near_tie, (label, scan)

    results = read_results(run)
    raw = np.array(golden["result"]["mar_val_batches_rawDice"])
    cells = {(row["label"], row["scan"]): row for row in results["scans"]}
    for column, label in enumerate(labels):
        for scan in range(4):
            for score, name in (
                ("dice", "mar_val_batches_rawDice"),
                ("precision", "mar_val_batches_rawPrec"),
                ("recall", "mar_val_al_batches_rawRec"),
            ):
                expected = golden["result"][name][scan][column]
                assert cells[label, str(scan)][score] == pytest.approx(expected, abs=max(near_tie, 1e-6)), (score, scan)
    assert results["mean"]["dice"] == pytest.approx(golden["result"]["mar_val_batches_meanDice"], abs=near_tie)
    class_means = [results["class_means"][name]["dice"] for name in results["class_means"]]
    np.testing.assert_allclose(class_means, raw.mean(axis=0), atol=near_tie)

    scalars = json.loads((run / "metrics.json").read_text())
    logged = scalars["mar_val_batches_meanDice"]["values"][0]
    assert logged == pytest.approx(results["mean"]["dice"])
    check_scored_slices(golden, results)


def published_predictions(label_set):
    """(label, scan) -> (Z, 256, 256) bool, in the order of the published calls: class, scan, slice."""
    bits = load_golden(f"s2g_val_set{label_set}_pred.npz")["pred"]
    masks = np.unpackbits(bits, axis=2).astype(bool)
    depth = len(masks) // 8
    places = [(label, scan) for label in LABELS[label_set] for scan in range(4)]
    return {place: masks[number * depth : (number + 1) * depth] for number, place in enumerate(places)}


def check_scored_slices(golden, results):
    """The slices scored are those of the class's range, as many as the published run recorded."""
    recorded = {}
    for label, scan, *_ in golden["record"]:
        recorded[label, str(scan)] = recorded.get((label, str(scan)), 0) + 1
    for row in results["scans"]:
        assert row["z_max"] - row["z_min"] + 1 == recorded[row["label"], row["scan"]], row
