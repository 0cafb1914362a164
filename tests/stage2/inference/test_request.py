"""How scans are prepared follows from what is asked for and from the run that trained the network."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from stage2.drawn import drawn_scan

from Stage2.datasets.catalog import get_dataset
from Stage2.datasets.folds import split_fold
from Stage2.datasets.volumes import Statistics, fold_statistics, list_scans
from Stage2.inference.network import Network, load_network, training_statistics
from Stage2.inference.request import Request
from Stage2.inference.transform import data_set_of, label_name, transform_for

HEART = Path(__file__).resolve().parents[3] / "examples" / "datasets" / "heart.yaml"


@pytest.fixture
def request_(tmp_path) -> Request:
    return Request(query=tmp_path, checkpoint=tmp_path, labels=[2], out=tmp_path)


def test_the_run_tells_what_it_was_trained_on_unless_it_is_said(request_):
    assert data_set_of(request_, {}) is None
    assert data_set_of(request_, {"dataset": "SABS_Superpix"}).name == "SABS"
    assert data_set_of(replace(request_, dataset="CHAOST2"), {"dataset": "SABS_Superpix"}).name == "CHAOST2"
    assert data_set_of(request_, {"dataset": "gone.yaml"}) is None


def test_transforms(request_, tmp_path):
    heart = get_dataset(str(HEART))
    transform = transform_for(request_, heart)
    found = (transform.modality, transform.axes, transform.spacing, transform.foreground_threshold)
    assert found == ("MR", "LAS", None, 50)
    scan, _ = drawn_scan((8, 6, 4), (2.0, 3.0, 4.0), axes="RSP")
    sitk.WriteImage(scan, str(tmp_path / "image_1.nii.gz"))
    transform = transform_for(replace(request_, like=tmp_path / "image_1.nii.gz", prepared=True), heart)
    assert (transform.axes, transform.prepared) == ("RSP", True)
    assert transform.spacing == pytest.approx(scan.GetSpacing())
    transform = transform_for(replace(request_, modality="CT", axes="stored", ct_statistics=(90.0, 60.0)), heart)
    assert (transform.modality, transform.axes, transform.statistics) == ("CT", "stored", Statistics(90.0, 60.0))
    assert transform.foreground_threshold == get_dataset("SABS").foreground_threshold
    for wrong in ((90.0, 0.0), (90.0, -1.0), (math.nan, 5.0), (math.inf, 5.0), (90.0, math.nan), (90.0, math.inf)):
        with pytest.raises(ValueError, match="a finite mean, and a finite deviation above 0"):
            transform_for(replace(request_, modality="CT", ct_statistics=wrong), None)


def test_names_of_labels():
    assert [label_name(get_dataset("CHAOST2"), label) for label in (1, 4, 9)] == ["LIVER", "SPLEEN", "label 9"]
    assert label_name(get_dataset(str(HEART)), 500) == "left_ventricle"  # as the files store it
    assert label_name(None, 3) == "label 3"


def test_ct_is_normalised_as_in_the_training_of_the_network(tmp_path):
    for scan in range(30):
        image = sitk.GetImageFromArray(np.random.default_rng(scan).normal(scan, 1, (1, 4, 4)))
        sitk.WriteImage(image, str(tmp_path / f"image_{scan}.nii.gz"))
    config = {"dataset": "SABS_Superpix", "eval_fold": 2, "support_idx": [6], "path": {"data_dir": str(tmp_path)}}
    data_set = get_dataset("SABS")
    fold = split_fold(list_scans(tmp_path), data_set, 2, 1)
    assert training_statistics(Network(None, "", config)) == fold_statistics(tmp_path, "CT", fold.train)
    for unknown in ({}, {**config, "path": {"data_dir": None}}, {**config, "dataset": "CHAOST2_Superpix"}):
        assert training_statistics(Network(None, "", unknown)) is None


def test_the_encoder_is_told_by_the_snapshot(snapshot, network, tmp_path):
    assert network.model.encoder.name == "dlfcn_res18"
    assert not network.model.training
    assert network.identity != load_network(snapshot, precision="bf16").identity
    with pytest.raises(ValueError, match="is a snapshot of dlfcn_res18 and this network is dlfcn_res50"):
        load_network(snapshot, encoder_name="dlfcn_res50")
    torch.save({"conv1.weight": torch.zeros(1)}, tmp_path / "backbone.pth")
    with pytest.raises(ValueError, match="is not a snapshot of Stage 2 with a known encoder"):
        load_network(tmp_path / "backbone.pth")
