"""Matched cells of two views: geometry against a loop, a backbone that knows every place, the figure."""

import pytest
import torch
from torch import nn

from Stage1.correspondence import cell_centres, correspondence_figure, find_correspondence
from Stage1.datasets.views import RandomViews, View
from Stage1.models.backbone import ResNetC5

STILL = {"jitter_probability": 0.0, "grayscale_probability": 0.0, "blur_probability": 0.0}


def places_image(height=160, width=200):
    """An image that tells every place: red grows down, green to the right."""
    rows = torch.linspace(0, 255, height).view(-1, 1).expand(height, width)
    columns = torch.linspace(0, 255, width).expand(height, width)
    return torch.stack([rows, columns, torch.full((height, width), 128.0)]).round().to(torch.uint8)


class PlaceBackbone(nn.Module):
    """Features that are close exactly where the colours, and so the places, are close."""

    def forward(self, images):
        pooled = nn.functional.adaptive_avg_pool2d(images, 5)[:, :2]
        return torch.cat([pooled, 10 * torch.ones_like(pooled[:, :1]) - pooled.square().sum(1, keepdim=True) / 20], 1)


@pytest.mark.parametrize("flip", [False, True])
def test_cell_centres_equal_a_loop(flip):
    view = View(10, 20, 60, 90, flip, colour=None)
    centres = cell_centres(view, (2, 3))
    expected = [[10 + 60 * (i + 0.5) / 2, 20 + 90 * (j + 0.5) / 3] for i in range(2) for j in range(3)]
    if flip:
        expected = [[row, 2 * 20 + 90 - column] for row, column in expected]
    torch.testing.assert_close(centres, torch.tensor(expected))


@pytest.mark.parametrize("seed", range(6))
def test_a_backbone_that_knows_places_is_near_everywhere(seed):
    settings = RandomViews(image_size=64, crop_scale=(0.4, 1.0), **STILL)
    found = find_correspondence(PlaceBackbone(), places_image(), settings, seed)
    assert found.grid == (5, 5)
    assert found.possible.any()
    assert found.share_near() > 0.9
    inside = found.distance[found.possible]
    assert (inside >= 0).all()
    again = find_correspondence(PlaceBackbone(), places_image(), settings, seed)
    assert torch.equal(found.cells, again.cells)


def test_the_same_view_twice_matches_itself():
    settings = RandomViews(image_size=96, crop_scale=(1.0, 1.0), flip_probability=0.0, **STILL)
    torch.manual_seed(0)
    image = torch.randint(0, 256, (1, 96, 96), dtype=torch.uint8)
    found = find_correspondence(ResNetC5(18), image, settings, seed=3)
    assert found.views[0][:4] == found.views[1][:4] == (0, 0, 96, 96)
    assert torch.equal(found.cells, torch.arange(9))
    assert found.similarity.min() > 0.999
    assert found.distance.max() == 0
    assert found.share_near() == 1


def test_the_figure_draws_lines_between_matched_cells():
    settings = RandomViews(image_size=64, **STILL)
    found = find_correspondence(PlaceBackbone(), places_image(), settings, seed=0)
    figure = correspondence_figure(places_image(), found, "title", lines=7)
    assert len(figure.axes) == 3
    assert len(figure.artists) == 7
    assert "7 most similar of 25" in figure._supxlabel.get_text()
