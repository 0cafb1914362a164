"""The ALP module against the published implementation, over feature kinds, shots, modes, classes and window sizes."""

import itertools

import numpy as np
import pytest
import torch
from torch.nn import functional

from golden.weights import GOLDEN, needs_golden
from Stage2.models.alp import global_prototypes, local_prototypes, similarity_score

pytestmark = needs_golden
WINDOWS = {"train": 4, "val": 2}


@pytest.fixture(scope="module")
def golden():
    return np.load(GOLDEN / "s2a_alp.npz")


def features_of(golden, kind):
    query = torch.from_numpy(golden["qry"]).float()
    support = torch.from_numpy(golden["sup"]).float()
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
    np.testing.assert_allclose(scores.numpy(), golden[f"{case}__pred"], atol=1e-4, rtol=0)
    if mode != "mask":
        assert len(prototypes) == golden[f"{case}__nproto"]
        # Where two prototypes are equally near, float32 may choose either: the shares of such cells are tiny.
        assert (assignment.numpy() == golden[f"{case}__assign"]).mean() > 0.999
