"""Which cells of two views a backbone takes for the same place, and where those cells really lie."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from matplotlib.patches import ConnectionPatch, Rectangle
from torch import Tensor, nn

from Stage1.datasets.colour import IMAGENET_MEAN, IMAGENET_STD, ColourAugmentation
from Stage1.datasets.views import Colour, RandomViews, View
from Stage1.models.contrast import match_dense_keys

QUERY, KEY = "#ff9f1c", "#2f9fe0"
NEAR, FAR = "#2fbf71", "#d1495b"


@dataclass(frozen=True)
class Correspondence:
    """Two views of one image and the cell of the second that every cell of the first is matched to.

    Attributes:
        views: what was drawn.
        pixels: (2, 3, H, W) float32 in [0, 1], the views as the network sees them.
        grid: rows and columns of cells in each view.
        cells: (S,) int64, the key cell of every query cell, row by row.
        similarity: (S,) float32, cosine similarity of every query cell and its key cell.
        distance: (S,) float32, how far the centres of both lie apart in the image, in key cells.
        possible: (S,) bool, whether the query cell's centre lies inside the key view at all.
    """

    views: tuple[View, View]
    pixels: Tensor
    grid: tuple[int, int]
    cells: Tensor
    similarity: Tensor
    distance: Tensor
    possible: Tensor

    def share_near(self) -> float:
        """Share of the query cells with a place in the key view that are matched to within one cell of it."""
        return (self.distance[self.possible] <= 1).float().mean().item()


@torch.no_grad()
def find_correspondence(backbone: nn.Module, image: Tensor, settings: RandomViews, seed: int) -> Correspondence:
    """Matches two random views of an image (1 or 3, H, W) uint8, as Stage 1 does in training.

    Args:
        backbone: images (N, 3, H, W) -> features (N, C, rows, columns).

    Source: DenseCL (Wang et al., CVPR 2021), section 3.3 and figure 4.
    """
    random = np.random.default_rng(seed)
    views = tuple(settings.draw(*image.shape[1:], random) for _ in range(2))
    crops = torch.stack([settings.crop(image, view) for view in views]).expand(-1, 3, -1, -1)
    colour = Colour(*(torch.from_numpy(np.stack(x))[None] for x in zip(*(v.colour for v in views), strict=True)))
    samples = {"colour": colour, "grey": torch.tensor([len(image) == 1])}
    inputs = ColourAugmentation()({"inputs": crops[None], "data_samples": samples})["inputs"][0]  # (2, 3, H, W)

    features = backbone.eval()(inputs)
    grid = tuple(features.shape[2:])
    query, key = F.normalize(features.flatten(2), dim=1).split(1)  # (1, C, S) each
    cells = match_dense_keys(query, key)[0]
    similarity = (query[0] * key[0][:, cells]).sum(dim=0)

    places = [cell_centres(view, grid) for view in views]  # (S, 2) each
    size = torch.tensor([views[1].height / grid[0], views[1].width / grid[1]])
    distance = ((places[0] - places[1][cells]) / size).norm(dim=1)
    start = torch.tensor([views[1].top, views[1].left])
    inside = (places[0] >= start) & (places[0] <= start + torch.tensor([views[1].height, views[1].width]))
    pixels = inputs * torch.tensor(IMAGENET_STD).view(3, 1, 1) + torch.tensor(IMAGENET_MEAN).view(3, 1, 1)
    return Correspondence(views, pixels, grid, cells, similarity, distance, inside.all(dim=1))


def cell_centres(view: View, grid: tuple[int, int]) -> Tensor:
    """Row and column in the image, in pixels, of the centre of every cell of a view, (S, 2)."""
    rows, columns = ((torch.arange(count) + 0.5) / count for count in grid)
    if view.flip:
        columns = 1 - columns
    rows, columns = view.top + rows * view.height, view.left + columns * view.width
    return torch.cartesian_prod(rows, columns)


def correspondence_figure(image: Tensor, found: Correspondence, title: str, lines: int = 16) -> Figure:
    """The image with both crops, and both views with lines between the most similar matched cells.

    Args:
        image: (1 or 3, H, W) uint8.
        lines: how many to draw; green ones join places within one cell of each other, red ones places further apart.
    """
    figure = Figure(figsize=(11, 4.4), layout="constrained")
    whole, *sides = figure.subplots(1, 3)
    whole.imshow(image.expand(3, -1, -1).permute(1, 2, 0).numpy())
    named = (("query", QUERY), ("key", KEY))
    for view, axes, (name, colour), pixels in zip(found.views, sides, named, found.pixels, strict=True):
        whole.add_patch(
            Rectangle((view.left, view.top), view.width, view.height, fill=False, edgecolor=colour, linewidth=2)
        )
        axes.imshow(pixels.permute(1, 2, 0).clamp(0, 1).numpy())
        axes.set_title(f"{name} view{', mirrored' if view.flip else ''}", color=colour, fontsize=11)
    side = found.pixels.shape[2]
    centres = (torch.cartesian_prod(*(torch.arange(count) for count in found.grid)) + 0.5) * side
    centres = (centres / torch.tensor(found.grid) - 0.5).flip(1)  # x, y
    for cell in found.similarity.argsort(descending=True)[:lines].tolist():
        ends = centres[cell].tolist(), centres[found.cells[cell]].tolist()
        colour = NEAR if found.distance[cell] <= 1 else FAR
        figure.add_artist(
            ConnectionPatch(*ends, "data", "data", axesA=sides[0], axesB=sides[1], color=colour, linewidth=1, alpha=0.8)
        )
        for axes, end in zip(sides, ends, strict=True):
            axes.plot(*end, "o", color=colour, markersize=3.5)
    for axes in (whole, *sides):
        axes.set_xticks([])
        axes.set_yticks([])
    whole.set_title("image and both crops", fontsize=11)
    count = int(found.possible.sum())
    near = f"{found.share_near():.0%} of them" if count else "none"
    figure.suptitle(title, fontsize=12)
    drawn = f"{min(lines, len(found.cells))} most similar of {len(found.cells)} matched cells"
    figure.supxlabel(
        f"{drawn}; {count} cells have their place in the key view, {near} matched to within one cell of it (green)",
        fontsize=9,
        color="#444444",
    )
    return figure
