"""Confident cells of a query, and the prototypes that they become, against plain loops."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from Stage2.models.alp import DegenerateEpisodeError, WeightedPrototypes, extended, similarity_score
from Stage2.models.heads import Head, LocalPrototypeHead, Prototypes
from Stage2.models.registry import HEADS, build
from Stage2.segmentation.matching import NOWHERE
from Stage2.segmentation.method import Method
from Stage2.segmentation.query_cells import certain_background, certain_cells, certain_foreground, neighbours
from Stage2.segmentation.scans import SupportSlices, segment_slices, segment_with_query

PROBABILITIES = st.lists(st.floats(0, 1, width=32), min_size=1, max_size=60)


@pytest.mark.parametrize("depth", [1, 2, 9])
def test_neighbours_lie_within_three_slices_and_were_looked_at(depth):
    looked_at = np.arange(depth) % 4 != 1
    for z in range(depth):
        expected = [other for other in range(depth) if abs(other - z) <= 3 and looked_at[other]]
        assert neighbours(z, looked_at).tolist() == expected


@settings(deadline=None, max_examples=60)
@given(values=PROBABILITIES, sure=st.integers(0, 30))
def test_confident_cells_are_those_of_a_plain_loop(values, sure):
    values = values + [0.91 + 0.001 * (place % 5) for place in range(sure)]
    probability = torch.tensor(values)
    values = probability.tolist()
    likely = sum(value > 0.5 for value in values)
    ranked = sorted(range(len(values)), key=lambda place: (-values[place], place))[: int(0.3 * likely)]
    chosen = sorted(place for place in ranked if values[place] > np.float32(0.9))
    found = certain_foreground(probability).tolist()
    assert found == (chosen if len(chosen) >= 4 else [])
    assert len(found) == 0 or 4 <= len(found) <= 0.3 * likely
    background = [place for place, value in enumerate(values) if value < np.float32(0.05)]
    assert certain_background(probability).tolist() == background


def test_features_of_confident_cells_come_in_raster_order():
    features = torch.arange(2 * 3 * 4 * 4.0).reshape(2, 3, 4, 4)
    probability = torch.full((2, 4, 4), 0.01)
    probability[1] = 0.95
    found = certain_cells(features, probability)
    background = [features[0, :, row, column] for row in range(4) for column in range(4)]
    foreground = [features[1, :, row, column] for row in range(4) for column in range(4)][:4]  # floor(0.3 * 16)
    assert torch.equal(found.background, torch.stack(background))
    assert torch.equal(found.foreground, torch.stack(foreground))
    assert certain_cells(features, torch.full((2, 4, 4), 0.01)) is None


@pytest.mark.parametrize("own", [1, 3])
@pytest.mark.parametrize("cells", [0, 1, 2, 7])
@pytest.mark.parametrize("most", [0, 1, 2, 9])
def test_as_many_prototypes_join_as_the_support_has_and_each_counts_half(own, cells, most):
    generator = torch.Generator().manual_seed(own)
    support, further = (torch.randn(count, 4, generator=generator) for count in (own, cells))
    found, count = extended(support, further, most), min(own, cells, most)
    if count == 0:
        assert found is support
        return
    if count == 1:
        added = [further.mean(dim=0)]
    else:
        added = [further[place * (cells - 1) // (count - 1)] for place in range(count)]
    torch.testing.assert_close(found.vectors, torch.stack([*support, *added]))
    query = torch.randn(2, 4, 1, 3, generator=generator)
    scores, _ = similarity_score(query, found)
    for b, column in np.ndindex(2, 3):
        similar = [
            20 * torch.nn.functional.cosine_similarity(query[b, :, 0, column], one, dim=0).item()
            for one in found.vectors
        ]
        weights = [(1 if place < own else 0.5) * math.exp(value) for place, value in enumerate(similar)]
        expected = sum(w * s for w, s in zip(weights, similar, strict=True)) / sum(weights)
        assert scores[b, 0, 0, column].item() == pytest.approx(expected, abs=1e-3)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 99), count=st.integers(1, 5))
def test_weights_of_one_change_nothing(seed, count):
    generator = torch.Generator().manual_seed(seed)
    prototypes, query = torch.randn(count, 4, generator=generator), torch.randn(1, 4, 2, 2, generator=generator)
    plain, _ = similarity_score(query, prototypes)
    weighted, _ = similarity_score(query, WeightedPrototypes(prototypes, torch.zeros(count)))
    assert torch.equal(plain, weighted)


def test_a_head_with_prototypes_of_its_own_kind_says_that_it_takes_none():
    cells = Prototypes(torch.ones(1, 2), torch.ones(4, 2))
    with pytest.raises(ValueError, match=r"Head takes no prototypes of the query; set query_prototypes=0, or write"):
        Head().joined({"mine": 1}, cells, 2)
    joined = LocalPrototypeHead().joined(Prototypes(torch.ones(3, 2), torch.ones(1, 2)), cells, 2)
    assert [len(of_class.vectors) for of_class in joined] == [4, 2]


def test_fewer_than_no_prototypes_are_refused():
    with pytest.raises(ValueError, match=r"query_prototypes=-1 is too small; choose 0 \(none\) or more"):
        Method(query_prototypes=-1)


def plain_rounds(model, query, support, mask, label_parts, most):
    """`segment_with_query` for one support slice of one part, slice by slice and cell by cell."""
    size = mask.shape
    full = torch.from_numpy(mask)[None].float()
    given = model.prototypes(support, full, 1 - full, 2)

    def score(z, prototypes):
        pixels = model.logits(query[z : z + 1], prototypes, size).softmax(dim=1)[0, 1]
        return pixels, model.logits(query[z : z + 1], prototypes, query.shape[-2:]).softmax(dim=1)[0, 1]

    def reverse(pixels):
        shown = [z for z in range(len(query)) if label_parts[z] == 0 and (pixels[z] > 0.5).any()]
        if not shown:
            return 0.0
        chosen = sorted({shown[len(shown) * part // 6] for part in (1, 3, 5)})
        predicted = torch.stack([(pixels[z] > 0.5).float() for z in chosen])
        try:
            prototypes = model.prototypes(query[chosen], predicted, 1 - predicted, 2)
        except DegenerateEpisodeError:
            return 0.0
        answer = (model.logits(support, prototypes, size).softmax(dim=1)[0, 1] > 0.5).numpy()
        return 2 * (answer & mask).sum() / (answer.sum() + mask.sum())

    scored = [score(z, given) if label_parts[z] == 0 else (torch.zeros(size), None) for z in range(len(query))]
    pixels, cells = [one[0] for one in scored], [one[1] for one in scored]
    trust, kept = reverse(pixels), 0
    for _ in range(2):
        new = {}
        for z in range(len(query)):
            near = [n for n in range(len(query)) if abs(n - z) <= 3 and label_parts[n] == 0]
            if label_parts[z] != 0:
                continue
            certain = certain_cells(query[near], torch.stack([cells[n] for n in near]))
            if certain is not None:
                new[z] = score(z, model.head.joined(given, certain, most))
        tried = [new[z][0] if z in new else pixels[z] for z in range(len(query))]
        if not new or reverse(tried) < trust:
            break
        pixels, trust, kept = tried, reverse(tried), kept + 1
        cells = [new[z][1] if z in new else cells[z] for z in range(len(query))]
    return np.stack([one.numpy() for one in pixels]), kept


class Plain(torch.nn.Module):
    """A head without an encoder."""

    def __init__(self, name):
        super().__init__()
        self.head = build(HEADS, name, "clsname")

    def prototypes(self, *arguments):
        return self.head.prototypes(*arguments)

    def logits(self, features, prototypes, size):
        return self.head.upsample(self.head.scores(features, prototypes), size)


@pytest.mark.parametrize("name", ["grid_proto", "global_proto", "anomaly", "anomaly_query"])
@pytest.mark.parametrize("depth", [1, 6])
@torch.no_grad()
def test_rounds_are_those_of_a_plain_loop_and_some_are_kept(name, depth):
    generator = torch.Generator().manual_seed(2)
    model, shape = Plain(name), torch.zeros(1, 1, 8, 8)
    shape[..., :6, :6] = 1
    organ, other = torch.randn(2, 256, generator=generator)
    organ_here = organ + 0.5 * torch.randn(256, generator=generator)  # the query's organ looks a little different

    def drawn(count, of_organ):
        noise = 0.1 * torch.randn(count, 256, 8, 8, generator=generator)
        return noise + shape * of_organ[:, None, None] + (1 - shape) * other[:, None, None]

    support, query = drawn(1, organ), drawn(depth, organ_here)
    mask = torch.nn.functional.interpolate(shape, (64, 64))[0, 0].numpy() > 0
    parts = np.zeros(depth, dtype=int)
    parts[3:4] = NOWHERE
    expected, kept = plain_rounds(model, query, support, mask, parts, most=3)
    full = torch.from_numpy(mask)[None].float()
    given = [model.prototypes(support, full, 1 - full, 2)]
    slices = [SupportSlices(support, [mask])]
    found = segment_with_query(model, query, given, parts, (64, 64), supports=slices, window=2, most=3)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert not found[parts == NOWHERE].any()
    alone = segment_slices(model, query, given, parts, (64, 64))
    assert kept == 0 or np.abs(found - alone).max() > 1e-6
    assert kept > 0
