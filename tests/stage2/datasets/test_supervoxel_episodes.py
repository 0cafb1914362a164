"""Episodes of supervoxels: which slices are drawn, how often, and that nothing but seed and number decides it."""

import pickle
from collections import Counter

import numpy as np
import pytest
import torch

from Stage2.datasets import supervoxel_episodes as module
from Stage2.datasets.catalog import get_dataset
from Stage2.datasets.cohort import Cohort
from Stage2.datasets.episodes import AnnotatedClass, FineTuningEpisodes, stream_episodes
from Stage2.datasets.mapped import SliceCache
from Stage2.datasets.pseudo_labels import PseudoLabels
from Stage2.datasets.supervoxel_episodes import SupervoxelEpisodes
from Stage2.datasets.volumes import Scan

SIDE = 32


@pytest.fixture
def unchanged_views(monkeypatch):
    """Views without augmentation, so that a test sees which slices and supervoxel were drawn."""
    monkeypatch.setattr(module, "augment_one_of", lambda views, rng: views)


def scan_of(number: int, rows: dict[int, list[int]]) -> Scan:
    """Every slice's image is its (scan, slice) number; supervoxel s has rows[s][z] rows of 32 pixels in slice z."""
    depth = max(map(len, rows.values()))
    image = np.zeros((depth, SIDE, SIDE), dtype=np.float32) + np.arange(depth)[:, None, None] + 100 * number
    supervoxels = np.zeros((depth, SIDE, SIDE), dtype=np.int32)
    for segment, heights in rows.items():
        for z, height in enumerate(heights):
            start = 8 * (segment - 1)
            supervoxels[z, start : start + height] = segment
    return Scan(str(number), image.astype(np.float32), (supervoxels == 1).astype(np.uint8), supervoxels=supervoxels)


def drawn(episode) -> tuple[int, int, int]:
    """(supervoxel, slice code of support, of query) of an episode without augmentation."""
    supervoxel = 1 + int(episode["support_foreground"][0].any(dim=1).nonzero()[0, 0]) // 8
    return supervoxel, *(int(episode[name][0, 0, 0, 0]) for name in ("support_image", "query_image"))


def slow_draw(scans, excluded, rng) -> tuple[int, int, int]:
    """The draw as it is told: scan, supervoxel, two successive slices, again until the larger area will do."""
    while True:
        scan = scans[rng.integers(len(scans))]
        kept = [z for z in range(len(scan.image)) if z not in excluded.get(scan.id, ())]
        areas = {n: [(scan.supervoxels[z] == n).sum() for z in range(len(scan.image))] for n in range(1, 5)}
        pairs = {n: [z for z in kept if z + 1 in kept and areas[n][z] and areas[n][z + 1]] for n in areas}
        possible = [n for n in pairs if pairs[n]]
        while possible:
            number = possible[rng.integers(len(possible))]
            first = pairs[number][rng.integers(len(pairs[number]))]
            if max(areas[number][first], areas[number][first + 1]) >= 200:
                pair = (first, first + 1) if rng.random() < 0.5 else (first + 1, first)
                return number, *(100 * int(scan.id) + z for z in pair)


SCANS = [
    scan_of(1, {1: [7, 7, 1, 1], 2: [0, 8, 8, 0], 3: [6, 6, 6, 6], 4: [8, 0, 8, 0]}),
    scan_of(2, {1: [1, 7, 0, 0], 2: [0, 0, 7, 8]}),
]
EXCLUDED = {"1": frozenset({3})}


def test_slices_are_drawn_as_often_as_by_drawing_again_and_again(unchanged_views):
    episodes, rng, count = SupervoxelEpisodes(SCANS, EXCLUDED, seed=0), np.random.default_rng(5), 4000
    found = Counter(drawn(episodes[index]) for index in range(count))
    expected = Counter(slow_draw(SCANS, EXCLUDED, rng) for _ in range(count))
    assert set(found) == set(expected) == {
        (1, 100, 101), (1, 101, 100), (1, 101, 102), (1, 102, 101), (2, 101, 102), (2, 102, 101),
        (1, 200, 201), (1, 201, 200), (2, 202, 203), (2, 203, 202),
    }  # fmt: skip
    for pair, number in expected.items():
        assert found[pair] / count == pytest.approx(number / count, abs=0.04)


def test_support_and_query_show_the_supervoxel_of_their_own_slices(unchanged_views):
    episodes = SupervoxelEpisodes(SCANS, EXCLUDED, seed=0)
    for index in range(20):
        episode = episodes[index]
        number, *codes = drawn(episode)
        for code, mask in zip(codes, (episode["support_foreground"], episode["query_label"]), strict=True):
            numbers = SCANS[code // 100 - 1].supervoxels[code % 100]
            assert torch.equal(mask[0] == 1, torch.from_numpy(numbers == number))


def test_shapes_and_types():
    episode = SupervoxelEpisodes(SCANS, {}, seed=0)[0]
    assert episode["support_image"].shape == episode["query_image"].shape == (1, 3, SIDE, SIDE)
    assert episode["support_foreground"].shape == episode["query_label"].shape == (1, SIDE, SIDE)
    assert episode["query_label"].dtype == torch.int64 and episode["query_image"].dtype == torch.float32


@pytest.mark.parametrize(
    "rows", [{1: [6, 6, 6]}, {1: [8, 0, 8]}, {1: [8]}, {1: [0, 0, 8, 8]}], ids=["small", "apart", "one", "excluded"]
)
def test_nothing_to_draw_from_is_refused(rows):
    with pytest.raises(ValueError, match="none of the 1 training scans has a supervoxel in two successive slices"):
        SupervoxelEpisodes([scan_of(1, rows)], {"1": frozenset({3}) if len(rows[1]) > 3 else frozenset()}, seed=0)


def test_scans_per_load_changes_the_scans_once_per_pass(unchanged_views):
    scans = [scan_of(number, {1: [7, 7]}) for number in range(1, 9)]
    episodes = SupervoxelEpisodes(scans, {}, seed=0, scans_per_load=2, episodes_per_load=40)
    passes = [{drawn(episodes[index])[1] // 100 for index in range(first, first + 40)} for first in range(0, 400, 40)]
    assert all(len(scans_of_pass) == 2 for scans_of_pass in passes)
    assert len(set().union(*passes)) > 4


@pytest.mark.parametrize("n_workers", [0, 2])
def test_stream_is_the_same_for_any_number_of_workers_and_any_start(n_workers):
    episodes = SupervoxelEpisodes(SCANS, EXCLUDED, seed=7)
    stream = stream_episodes(episodes, n_workers, start=5)
    for expected, (number, episode) in zip(range(5, 11), stream, strict=False):
        assert number == expected
        for key, value in episodes[number].items():
            assert torch.equal(value, episode[key]), (number, key)


def test_fine_tuning_mixes_them_with_manual_episodes():
    pseudo_labels = SupervoxelEpisodes(SCANS, {}, seed=3)
    episodes = FineTuningEpisodes(pseudo_labels, [SCANS[0]], [AnnotatedClass(1, {"1": [0, 1, 2]}, {"2": (0, 1)})])
    same = [torch.equal(episodes[i]["query_image"], pseudo_labels[i]["query_image"]) for i in range(80)]
    assert 0.6 < np.mean(same) < 0.9


def test_scans_on_disk_give_the_same_episodes_and_travel_light(cohort_folder, tmp_path):
    cohort = Cohort(cohort_folder, get_dataset("CHAOST2"), fold=0)
    scans = cohort.training_scans("MIDDLE", SliceCache(tmp_path, cohort_folder), labels=PseudoLabels.SUPERVOXELS)[:2]
    episodes = SupervoxelEpisodes(scans, {}, seed=0)
    assert len(pickle.dumps(episodes)) < 5_000
    held = [Scan(s.id, *(np.stack(list(slices)) for slices in (s.image, s.supervoxels, s.supervoxels))) for s in scans]
    held = SupervoxelEpisodes([Scan(s.id, s.image, supervoxels=s.label) for s in held], {}, seed=0)
    for index in range(4):
        for key, value in held[index].items():
            assert torch.equal(value, episodes[index][key])
