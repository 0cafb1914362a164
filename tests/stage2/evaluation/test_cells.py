"""Cells of slices against plain loops: their classes, which are scored, and the training sample."""

import numpy as np
import pytest
from stage2.evaluation.drawn_cells import NAMES, scan_cells

from Stage2.datasets.catalog import get_dataset
from Stage2.datasets.cohort import Cohort
from Stage2.evaluation import cells
from Stage2.evaluation.cells import ScanCells, cell_labels, choose_training_cells, read_cells


def naive_cell(cell: np.ndarray, organs: list[int]) -> tuple[int, float]:
    pixels = [int(value) for row in cell for value in row]
    counts = [sum(value == organ for value in pixels) for organ in organs]
    counts = [len(pixels) - sum(counts), *counts]
    return counts.index(max(counts)), max(counts) / len(pixels)


@pytest.mark.parametrize(("depth", "height", "width", "side"), [(1, 8, 8, 8), (2, 16, 24, 8), (3, 6, 4, 2)])
def test_cell_labels_against_a_loop(depth, height, width, side):
    label = np.random.default_rng(0).integers(0, 5, (depth, height, width))
    organs = [1, 3]  # values 2 and 4 are background
    labels, shares = cell_labels(label, organs, side)
    assert labels.shape == shares.shape == (depth, height // side, width // side)
    for z, row, column in np.ndindex(labels.shape):
        cell = label[z, row * side : (row + 1) * side, column * side : (column + 1) * side]
        assert (labels[z, row, column], shares[z, row, column]) == naive_cell(cell, organs)


def test_a_cell_shared_in_halves_is_pure_and_of_the_lower_class():
    label = np.zeros((1, 8, 8))
    label[0, :, 4:] = 2
    labels, shares = cell_labels(label, [1, 2])
    assert (labels.item(), shares.item()) == (0, 0.5)


def test_cells_of_a_scan(cohort_folder):
    cohort = Cohort(cohort_folder, get_dataset("CHAOST2"), fold=0)
    scan = read_cells(cohort, "0")
    annotated = cohort.annotated_scan("0")
    np.testing.assert_array_equal(scan.images, annotated.image[1:-1])  # the outer slices show no organ
    labels, shares = cell_labels(annotated.label[1:-1], [1, 2, 3, 4])
    np.testing.assert_array_equal(scan.labels, labels)
    np.testing.assert_array_equal(scan.pure, shares >= 0.5)
    assert scan.scored.all()  # the body of this scan fills its slices
    middle = read_cells(cohort, "0", max_slices=1)
    np.testing.assert_array_equal(middle.images, scan.images[1:2])


def test_air_is_not_scored(cohort_folder, monkeypatch):
    bright = 700.0  # only organs 3 and 4 are brighter: the body becomes part of them
    cohort = Cohort(cohort_folder, get_dataset("CHAOST2"), fold=0)
    monkeypatch.setattr(cells, "foreground_mask", lambda image, threshold: image > bright)
    scan = read_cells(cohort, "0")
    assert scan.scored[scan.labels > 0].all()
    assert not scan.scored[scan.labels == 0].all()


def test_the_training_sample_is_balanced_and_pure():
    scans = [scan_cells(0), scan_cells(1, n_slices=1)]
    impure = ScanCells(scans[0].images, scans[0].labels, scans[0].labels != 2, scans[0].scored)
    chosen = choose_training_cells([impure, scans[1], scans[0]], NAMES, 30, seed=0)
    classes = np.concatenate([scan.labels[own] for scan, own in zip([impure, *scans[::-1]], chosen, strict=True)])
    assert np.bincount(classes).tolist() == [30, 30, 30]
    assert not (impure.labels[chosen[0]] == 2).any()
    everything = choose_training_cells(scans, NAMES, 10**6, seed=0)  # the rarest class, A, has 4 x 9 cells
    assert sum(own.sum() for own in everything) == 3 * 36
    again = choose_training_cells(scans, NAMES, 30, seed=0)
    other = choose_training_cells(scans, NAMES, 30, seed=1)
    assert all(map(np.array_equal, again, choose_training_cells(scans, NAMES, 30, seed=0)))
    assert not all(map(np.array_equal, again, other))


def test_too_few_cells_of_an_organ_are_named():
    with pytest.raises(ValueError, match=r"found 9 training cells of A, expected at least 20; take more slices"):
        choose_training_cells([scan_cells(0, n_slices=1)], NAMES, 100, seed=0)
