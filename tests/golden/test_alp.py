"""The ALP module against the published implementation, over feature kinds, shots, modes, classes and window sizes."""

import itertools

import numpy as np
import pytest
import torch
from torch.nn import functional

from golden.weights import load_golden, sampled
from Stage2.models.alp import global_prototypes, local_prototypes, similarity_score

WINDOWS = {"train": 4, "val": 2}


@pytest.fixture(scope="module")
def golden():
    return load_golden("s2a_alp.npz")


def features_of(golden, kind):
    """The recorded features (1, 256, 32, 32) and (3, 256, 32, 32), drawn again as they were drawn then."""
    random = torch.Generator().manual_seed(1)
    query, support = (torch.randn(count, 256, 32, 32, generator=random).half() for count in (1, 3))
    for name, features in (("qry", query), ("sup", support)):
        assert name not in golden or np.array_equal(features.numpy(), golden[name])
    query, support = query.float(), support.float()
    if kind == "struct":
        mean = torch.from_numpy(golden["mu"]).float()[None, :, None, None]
        query_mask = torch.from_numpy(golden["qmask256"]).float()[None, None]
        query = query + functional.interpolate(query_mask, (32, 32), mode="bilinear") * mean
        support = support + torch.from_numpy(golden["fg32"]).float() * mean
    return query, support


def test_masks_on_the_feature_grid(golden):
    masks = torch.from_numpy(golden["mask256"]).float()[:, None]
    torch.testing.assert_close(
        functional.interpolate(masks, (32, 32), mode="bilinear"), torch.from_numpy(golden["fg32"]).float()
    )


@pytest.mark.parametrize(
    ("kind", "shots", "mode", "region", "phase"),
    list(
        itertools.product(
            ("randn", "struct"), (1, 3), ("mask", "gridconv", "gridconv+"), ("fg", "bg"), ("train", "val")
        )
    ),
)
def test_scores_assignments_and_prototype_counts(golden, kind, shots, mode, region, phase):
    query, support = features_of(golden, kind)
    support = support[:shots]
    mask = torch.from_numpy(golden[f"{region}32"]).float()[:shots]
    averages = global_prototypes(support, mask)
    if mode == "mask":
        prototypes = averages.mean(dim=0, keepdim=True)
    else:
        prototypes = local_prototypes(support, mask, WINDOWS[phase])
        if mode == "gridconv+":
            prototypes = torch.cat([prototypes, averages])
    scores, assignment = similarity_score(query, prototypes)

    case = f"{kind}__{shots}shot__{mode}__{region}__{phase}"
    expected = golden[f"{case}__pred"]
    np.testing.assert_allclose(sampled(scores.numpy(), expected), expected, atol=1e-4, rtol=0)
    if mode != "mask":
        assert len(prototypes) == golden[f"{case}__nproto"]
        # Where two prototypes are equally near, float32 may choose either: the shares of such cells are tiny.
        expected = golden[f"{case}__assign"]
        assert (sampled(assignment.numpy(), expected) == expected).mean() > 0.999
