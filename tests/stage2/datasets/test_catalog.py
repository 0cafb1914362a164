"""The tables of the catalog against the facts of the published experiments."""

import pytest

from Stage2.datasets.catalog import get_dataset


def test_chaost2():
    data_set = get_dataset("CHAOST2")
    assert dict(data_set.classes) == {"BG": 0, "LIVER": 1, "RK": 2, "LK": 3, "SPLEEN": 4}
    assert data_set.fold_boundaries == (0, 4, 8, 12, 16, 20)
    assert (data_set.training_labels(0), data_set.test_labels(0)) == ([1, 4], [2, 3])
    assert (data_set.training_labels(1), data_set.test_labels(1)) == ([2, 3], [1, 4])
    assert data_set.foreground_threshold == pytest.approx(50.0001)
    assert data_set.modality == "MR"


def test_sabs():
    data_set = get_dataset("SABS")
    names = [
        "BGD",
        "SPLEEN",
        "KID_R",
        "KID_l",
        "GALLBLADDER",
        "ESOPHAGUS",
        "LIVER",
        "STOMACH",
        "AORTA",
        "IVC",
        "PS_VEIN",
        "PANCREAS",
        "AG_R",
        "AG_L",
    ]
    assert dict(data_set.classes) == {name: value for value, name in enumerate(names)}
    assert data_set.fold_boundaries == (0, 6, 12, 18, 24, 30)
    assert (data_set.training_labels(0), data_set.test_labels(0)) == ([1, 6], [2, 3])
    assert (data_set.training_labels(1), data_set.test_labels(1)) == ([2, 3], [1, 6])
    assert data_set.foreground_threshold == pytest.approx(1e-4)
    assert data_set.modality == "CT"


def test_cmr():
    data_set = get_dataset("CMR")
    assert dict(data_set.classes) == {"BG": 0, "LV-MYO": 1, "LV-BP": 2, "RV": 3}
    assert data_set.fold_boundaries == (0, 7, 14, 21, 28, 35)
    assert (data_set.training_labels(0), data_set.test_labels(0)) == ([], [1, 2, 3])
    assert data_set.modality == "MR"


def test_the_published_name_with_superpix_means_the_same_data_set():
    assert get_dataset("CHAOST2_Superpix") is get_dataset("CHAOST2")


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="dataset=LUNG is unknown; choose one of CHAOST2, SABS"):
        get_dataset("LUNG")
    with pytest.raises(ValueError, match="label_sets=2"):
        get_dataset("SABS").test_labels(2)
    with pytest.raises(ValueError, match="no class with label 9"):
        get_dataset("CHAOST2").class_name(9)
