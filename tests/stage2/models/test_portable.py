"""The head as a graph of fixed shape gives what the segmenter's prototypes and scores give, in every branch."""

import pytest
import torch

from Stage2.models.alp import DegenerateEpisodeError
from Stage2.models.encoders import FEATURE_CHANNELS
from Stage2.models.few_shot import FewShotSegmenter
from Stage2.models.portable import PortableGlobalPrototypes, PortableLocalPrototypes

SIDE = 64  # of the slices: 8 x 8 features
LARGE, SMALL, EMPTY, FULL = (slice(0, 32), slice(8, 14), slice(0, 0), slice(0, 64))


def mask_of(rows: slice) -> torch.Tensor:
    mask = torch.zeros(SIDE, SIDE)
    mask[rows, rows] = 1
    return mask


@pytest.fixture(scope="module", params=["grid_proto", "global_proto", "anomaly", "anomaly_query"])
def segmenter(request):
    model = FewShotSegmenter("dlfcn_res18", request.param).eval()
    if request.param == "anomaly_query":
        torch.nn.init.normal_(model.head.weight, std=0.2, generator=torch.Generator().manual_seed(0))
    return model


@pytest.mark.parametrize("window", [1, 2, 4])
@pytest.mark.parametrize(
    "shots",
    [[LARGE], [SMALL], [EMPTY], [SMALL, EMPTY], [LARGE, SMALL], [EMPTY, SMALL, LARGE], [LARGE, FULL]],
    ids=["large", "small", "empty", "small+empty", "large+small", "three", "one-without-background"],
)
def test_logits_are_the_segmenters(segmenter, shots, window):
    generator = torch.Generator().manual_seed(len(shots))
    support, query = (torch.randn(count, FEATURE_CHANNELS, 8, 8, generator=generator) for count in (len(shots), 3))
    masks = torch.stack([mask_of(rows) for rows in shots])
    expected = segmenter.logits(query, segmenter.prototypes(support, masks, 1 - masks, window), (SIDE, SIDE))
    found = segmenter.head.portable(window)(support, masks, query)
    assert found.shape == (3, 2, SIDE, SIDE)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_the_cases_take_both_branches_and_differ():
    """Otherwise the comparison above would not tell a head that ignores the branch."""
    generator = torch.Generator().manual_seed(0)
    support, query = (torch.randn(1, 16, 8, 8, generator=generator) for _ in range(2))
    logits = [PortableLocalPrototypes(2)(support, mask_of(rows)[None], query)[:, 1] for rows in (LARGE, SMALL)]
    assert (logits[0] - logits[1]).abs().max() > 1
    empty = PortableLocalPrototypes(2)(support, mask_of(EMPTY)[None], query)[:, 1]
    assert torch.equal(empty, torch.zeros_like(empty))


def test_a_support_without_background_gives_nan_where_the_segmenter_refuses_it():
    support, query, everywhere = torch.randn(1, 16, 8, 8), torch.randn(2, 16, 8, 8), mask_of(FULL)[None]
    with pytest.raises(DegenerateEpisodeError):
        FewShotSegmenter("dlfcn_res18").prototypes(support, everywhere, 1 - everywhere, 2)
    logits = PortableLocalPrototypes(2)(support, everywhere, query)
    assert logits.isnan().all()
    global_only = PortableGlobalPrototypes(2)(support, everywhere, query)
    assert torch.equal(global_only[:, 0], torch.zeros(2, SIDE, SIDE))
