"""Episodes: what is drawn, how often, and that nothing but seed and number decides it."""

from collections import Counter

import numpy as np
import pytest
import torch

from Stage2.datasets import episodes as module
from Stage2.datasets.episodes import AnnotatedClass, FineTuningEpisodes, SuperpixelEpisodes, stream_episodes
from Stage2.datasets.volumes import Scan

SIDE = 32


@pytest.fixture
def unchanged_views(monkeypatch):
    """Views without augmentation, so that a test sees which slice and segment was drawn."""
    monkeypatch.setattr(module, "augment", lambda image, mask, rng: (image, mask))


def scan_of(number: int, segments_per_slice: list[int]) -> Scan:
    """Every slice's image is its (scan, slice) number; segment s covers row s."""
    depth = len(segments_per_slice)
    image = np.zeros((depth, SIDE, SIDE), dtype=np.float32)
    superpixels = np.zeros((depth, SIDE, SIDE), dtype=np.int32)
    label = np.zeros((depth, SIDE, SIDE), dtype=np.uint8)
    for z, n_segments in enumerate(segments_per_slice):
        image[z] = 100 * number + z
        for segment in range(1, n_segments + 1):
            superpixels[z, segment] = segment
        label[z, 5:9] = 1 if 0 < z < depth - 1 else 0
    return Scan(str(number), image, label, superpixels)


def drawn(episode) -> tuple[int, int]:
    """(scan and slice code, segment) of an episode without augmentation."""
    rows = episode["query_label"][0].any(dim=1).nonzero().flatten().tolist()
    return int(episode["query_image"][0, 0, 0, 0]), rows[0]


def test_slices_and_segments_are_drawn_uniformly(unchanged_views):
    scans = [scan_of(1, [0, 3, 1]), scan_of(2, [2, 0])]
    episodes = SuperpixelEpisodes(scans, excluded={}, seed=0)
    counts = Counter(drawn(episodes[index]) for index in range(3000))
    expected = {(101, 1): 1 / 9, (101, 2): 1 / 9, (101, 3): 1 / 9, (102, 1): 1 / 3, (200, 1): 1 / 6, (200, 2): 1 / 6}
    assert set(counts) == set(expected)  # the last segment and a lone segment too; no slice without segments
    for place, share in expected.items():
        assert counts[place] / 3000 == pytest.approx(share, abs=0.035)


def test_gaps_in_segment_numbers_never_give_an_empty_episode(unchanged_views):
    scan = scan_of(1, [5])
    scan.superpixels[scan.superpixels == 3] = 0
    episodes = SuperpixelEpisodes([scan], excluded={}, seed=0)
    assert {drawn(episodes[index])[1] for index in range(100)} == {1, 2, 4, 5}


def test_excluded_slices_are_never_drawn(unchanged_views):
    episodes = SuperpixelEpisodes([scan_of(1, [2, 2, 2])], excluded={"1": frozenset({0, 2})}, seed=0)
    assert {drawn(episodes[index])[0] for index in range(50)} == {101}


def test_nothing_to_draw_from_is_refused():
    with pytest.raises(ValueError, match="none of the 1 training scans has a slice"):
        SuperpixelEpisodes([scan_of(1, [2])], excluded={"1": frozenset({0})}, seed=0)


def test_scans_per_load_changes_the_scans_once_per_pass(unchanged_views):
    scans = [scan_of(number, [2, 2]) for number in range(1, 9)]
    episodes = SuperpixelEpisodes(scans, excluded={}, seed=0, scans_per_load=2, episodes_per_load=40)
    passes = [{drawn(episodes[index])[0] // 100 for index in range(first, first + 40)} for first in range(0, 400, 40)]
    assert all(len(scans_of_pass) == 2 for scans_of_pass in passes)
    assert len(set().union(*passes)) > 4


def test_shapes_and_types():
    episode = SuperpixelEpisodes([scan_of(1, [4])], excluded={}, seed=0)[0]
    assert episode["support_image"].shape == episode["query_image"].shape == (1, 3, SIDE, SIDE)
    assert episode["support_foreground"].shape == episode["query_label"].shape == (1, SIDE, SIDE)
    assert episode["query_label"].dtype == torch.int64
    assert (episode["query_image"][:, 0] == episode["query_image"][:, 2]).all()  # one channel, repeated


def test_support_and_query_are_two_different_views():
    episode = SuperpixelEpisodes([scan_of(1, [4])], excluded={}, seed=0)[3]
    assert not torch.equal(episode["support_image"], episode["query_image"])


@pytest.mark.parametrize("n_workers", [0, 2])
def test_stream_is_the_same_for_any_number_of_workers_and_any_start(n_workers):
    episodes = SuperpixelEpisodes([scan_of(1, [4, 3]), scan_of(2, [2])], excluded={}, seed=7)
    stream = stream_episodes(episodes, n_workers, start=5)
    for expected, (number, episode) in zip(range(5, 11), stream, strict=False):
        assert number == expected
        for key, value in episodes[number].items():
            assert torch.equal(value, episode[key]), (number, key)


def test_other_seeds_draw_other_episodes():
    scans = [scan_of(1, [4, 3]), scan_of(2, [2])]
    first, second = (SuperpixelEpisodes(scans, excluded={}, seed=seed) for seed in (1, 2))
    assert any(not torch.equal(first[i]["query_image"], second[i]["query_image"]) for i in range(5))


def fine_tuning_episodes(n_parts=3) -> FineTuningEpisodes:
    """Liver (label 1) in slices 1 to 7 of scan 1; label 4 in scan 2 only; the support's slice z has value 900 + z."""
    first, second, support = scan_of(1, [1] * 9), scan_of(2, [1] * 4), scan_of(9, [0] * 9)
    second.label[:] = 0
    second.label[2, 10:12] = 4
    support.label[3:6, 20:24] = 4
    classes = [
        AnnotatedClass(1, {"9": [2, 4, 6][:n_parts]}, {"1": (1, 7)}),
        AnnotatedClass(4, {"9": [3, 4, 5][:n_parts]}, {"2": (2, 2)}),
    ]
    superpixels = SuperpixelEpisodes([first, second], excluded={"2": frozenset({3})}, seed=3, episodes_per_load=500)
    return FineTuningEpisodes(superpixels, [support], classes)


def test_a_quarter_of_the_episodes_is_manual_and_classes_take_turns(unchanged_views):
    episodes = fine_tuning_episodes()
    manual = {1: Counter(), 4: Counter()}
    share = 0
    for index in range(2000):
        episode = episodes[index]
        support = int(episode["support_image"][0, 0, 0, 0])
        if support < 900:
            continue
        share += 1
        label = 1 if index // 500 % 2 == 0 else 4
        manual[label][(int(episode["query_image"][0, 0, 0, 0]), support)] += 1
    assert share / 2000 == pytest.approx(0.25, abs=0.03)
    # Liver: every slice of scan 1, with the support slice of its part; slices before and after belong to the ends.
    assert set(manual[1]) == {(100 + z, 900 + s) for z, s in zip(range(9), (2, 2, 2, 4, 4, 6, 6, 6, 6), strict=True)}
    # The other class: scan 2 without its excluded slice; one slice has it, so everything is part 0.
    assert set(manual[4]) == {(200, 903), (201, 903), (202, 903)}


def test_manual_masks_are_the_class(unchanged_views):
    episodes = fine_tuning_episodes()
    seen = 0
    for index in range(500):
        episode = episodes[index]
        if int(episode["support_image"][0, 0, 0, 0]) >= 900:
            seen += 1
            z = int(episode["query_image"][0, 0, 0, 0]) - 100
            rows = episode["query_label"][0].any(dim=1).nonzero().flatten().tolist()
            assert rows == ([5, 6, 7, 8] if 1 <= z <= 7 else [])  # a slice without the class is background
            assert episode["support_foreground"][0].any(dim=1).nonzero().flatten().tolist() == [5, 6, 7, 8]
    assert seen > 50


def test_superpixel_episodes_of_fine_tuning_are_those_of_training():
    episodes = fine_tuning_episodes()
    same = [
        torch.equal(episodes[index]["query_image"], episodes.pseudo_labels[index]["query_image"]) for index in range(80)
    ]
    assert 0.6 < np.mean(same) < 0.9


def test_class_that_no_training_scan_has_is_refused():
    with pytest.raises(ValueError, match="label 4: no training scan has it"):
        FineTuningEpisodes(
            SuperpixelEpisodes([scan_of(1, [2])], excluded={}, seed=0),
            [scan_of(9, [0])],
            [AnnotatedClass(4, {"9": [0]}, {})],
        )


def test_fine_tuning_without_a_training_class_is_refused():
    superpixels = SuperpixelEpisodes([scan_of(1, [2])], excluded={}, seed=0)
    with pytest.raises(ValueError, match="needs an annotated training class, but the label set has none"):
        FineTuningEpisodes(superpixels, [scan_of(9, [0])], [])


def test_support_slices_without_the_class_are_refused():
    whole = fine_tuning_episodes()
    classes = [whole.classes[0], AnnotatedClass(4, {"9": [3, 4, 7]}, {"2": (2, 2)})]
    with pytest.raises(ValueError, match="slice 7 of support scan 9 has no pixel of label 4, against the class map"):
        FineTuningEpisodes(whole.pseudo_labels, whole.supports, classes)


def test_several_supports_make_manual_episodes_of_as_many_shots(unchanged_views):
    one = fine_tuning_episodes()
    other = scan_of(8, [0] * 9)
    other.label[1:4, 20:24] = 4
    classes = [AnnotatedClass(c.label, {**c.support_slices, "8": [1, 2, 3]}, c.ranges) for c in one.classes]
    two = FineTuningEpisodes(one.pseudo_labels, [*one.supports, other], classes)
    seen = 0
    for index in range(100):
        episode, values = two[index], two[index]["support_image"][:, 0, 0, 0].tolist()
        assert torch.equal(episode["query_image"], one[index]["query_image"])
        assert len(episode["support_foreground"]) == len(values)
        if len(values) == 2:
            seen += 1
            assert (values[0] - 900, values[1] - 800) in {(2, 1), (4, 2), (6, 3)}
    assert seen > 10
