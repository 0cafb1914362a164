"""The method in one figure: pre-training, episodes from superpixels, testing with one annotated scan.

Every picture in it is drawn here: a synthetic slice, its real Felzenszwalb segments, augmented copies.
"""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle
from scipy import ndimage
from skimage.color import label2rgb
from skimage.segmentation import felzenszwalb, find_boundaries

from Stage2.drawing.masks import coloured
from Stage2.drawing.masks import paint as paint_on

SIZE = (132, 84)  # of the canvas, in its own units
INK = "#22303c"
MUTED = "#5d6d7a"
QUERY, KEY, SUPPORT = "#1f77b4", "#d9730d", "#2a9d5c"
BANDS = {"stage 1": "#eef4fb", "stage 2": "#f1f8f1", "testing": "#fbf4ea"}
ORGANS = {  # centre (row, column), radii, angle in degrees, intensity; in units of the half size
    "body": (0.0, 0.0, 0.72, 0.92, 0, 0.35),
    "liver": (-0.15, -0.45, 0.38, 0.34, 20, 0.62),
    "spleen": (0.05, 0.62, 0.3, 0.16, 10, 0.72),
    "right kidney": (0.32, -0.38, 0.19, 0.14, 15, 0.9),
    "left kidney": (0.32, 0.36, 0.19, 0.14, -15, 0.9),
    "spine": (0.42, 0.0, 0.17, 0.14, 0, 0.15),
    "aorta": (0.14, 0.06, 0.07, 0.07, 0, 0.98),
}


def synthetic_slice(size: int = 128) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """A slice of an imagined abdomen, (H, W) in [0, 1], and its organs' masks, each (H, W) bool."""
    rows, columns = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    image, masks = np.zeros((size, size)), {}
    for name, (row, column, height, width, angle, intensity) in ORGANS.items():
        sine, cosine = np.sin(np.deg2rad(angle)), np.cos(np.deg2rad(angle))
        down, right = rows - row, columns - column
        inside = ((cosine * down + sine * right) / height) ** 2 + ((cosine * right - sine * down) / width) ** 2 < 1
        image[inside] = intensity
        masks[name] = inside
    noise = np.random.default_rng(4).normal(size=image.shape)
    image += masks["body"] * (0.25 * ndimage.gaussian_filter(noise, 2.5) + 0.02 * noise)
    return np.clip(ndimage.gaussian_filter(image, 0.8), 0, 1), masks


def warp(picture: np.ndarray, angle: float, zoom: float) -> np.ndarray:
    """The picture (H, W, ...) turned by degrees and zoomed about its centre, nearest neighbour."""
    sine, cosine = np.sin(np.deg2rad(angle)), np.cos(np.deg2rad(angle))
    matrix = np.array([[cosine, sine], [-sine, cosine]]) / zoom
    centre = (np.array(picture.shape[:2]) - 1) / 2
    layers = picture if picture.ndim == 3 else picture[..., None]
    turned = [
        ndimage.affine_transform(layer, matrix, centre - matrix @ centre, order=0)
        for layer in np.moveaxis(layers, 2, 0)
    ]
    return np.stack(turned, axis=2).reshape(picture.shape)


def paint(image: np.ndarray, mask: np.ndarray, colour: str, strength: float = 0.6) -> np.ndarray:
    """A grey image (H, W) in [0, 1] as RGB (H, W, 3) with a mask painted on it."""
    picture = coloured(image, (0, 1))
    paint_on(picture, mask, colour, strength)
    return picture


def method_figure() -> Figure:
    """The overview as a matplotlib figure, 13.2 x 8.4 inches."""
    figure = Figure(figsize=(SIZE[0] / 10, SIZE[1] / 10))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, SIZE[0]), ylim=(0, SIZE[1]))
    axes.set_axis_off()
    image, organs = synthetic_slice()
    _draw_stage1(axes, image)
    _draw_stage2(axes, image, organs["body"], organs["spleen"])
    _draw_testing(axes, image, organs)
    return figure


def _draw_stage1(axes: Axes, image: np.ndarray) -> None:
    _band(axes, "stage 1", (1, 55, 130, 28), "Stage 1   Dense contrastive pre-training on unlabelled medical images")
    for shift in (1.6, 0.8, 0):
        _picture(
            axes, (4 + shift, 63.5 + shift), 10.5, np.repeat((1 - 0.25 * shift / 1.6) * image[..., None], 3, axis=2)
        )
    _note(axes, (10, 61.5), "images (ROCO)")
    _picture(axes, (25, 70), 8.5, np.repeat(np.clip(warp(image, 0, 1.5) * 1.3, 0, 1)[:, ::-1, None], 3, axis=2), KEY)
    _picture(axes, (25, 58.5), 8.5, np.repeat(warp(image, 0, 1.25)[..., None] ** 1.4, 3, axis=2), QUERY)
    _note(axes, (29.2, 69), "view 2", KEY)
    _note(axes, (29.2, 57.5), "view 1", QUERY)
    _box(axes, (42, 70), (17, 8.5), "key encoder", "slow copy, no gradient", KEY)
    _box(axes, (42, 58.5), (17, 8.5), "query encoder", "ResNet-101", QUERY)
    for start, end, colour in (((17, 71), (24.6, 74), KEY), ((17, 67), (24.6, 63), QUERY)):
        _arrow(axes, start, end, colour)
    for y, colour in ((74.2, KEY), (62.7, QUERY)):
        _arrow(axes, (34, y), (41.6, y), colour)
    _arrow(axes, (50.5, 67.3), (50.5, 69.8), KEY, dashed=True)
    _note(axes, (51.3, 68.5), "momentum 0.999", KEY, align="left")

    heights = {"global": (73.7, 69.6), "dense": (63.7, 59.6)}
    for name, (key_y, query_y) in heights.items():
        for y, colour in ((key_y, KEY), (query_y, QUERY)):
            _box(
                axes, (70, y), (14, 3.4), "global vector" if name == "global" else "dense grid", "", colour, small=True
            )
    for y in (75.4, 65.4):
        _arrow(axes, (59.3, 74.2), (69.6, y), KEY)
        _arrow(axes, (84.2, y), (88.6, y), KEY)
        _box(axes, (89, y - 1.7), (9, 3.4), "queue", "", KEY, small=True)
        _arrow(axes, (98.2, y), (103.6, y), KEY)
    for y in (71.3, 61.3):
        _arrow(axes, (59.3, 62.7), (69.6, y), QUERY)
        _arrow(axes, (84.2, y), (103.6, y), QUERY)
    _box(axes, (104, 69.6), (16, 7.5), "global loss", "InfoNCE", INK)
    _box(axes, (104, 59.6), (16, 7.5), "dense loss", "cells matched by\nbackbone similarity", INK)
    _arrow(axes, (120.2, 73.3), (123.3, 70), INK)
    _arrow(axes, (120.2, 63.3), (123.3, 66.6), INK)
    axes.text(126.3, 68.3, "½ + ½", ha="center", va="center", fontsize=12, color=INK, fontweight="bold")


def _draw_stage2(axes: Axes, image: np.ndarray, body: np.ndarray, spleen: np.ndarray) -> None:
    _band(axes, "stage 2", (1, 21, 130, 32), "Stage 2   Few-shot training on superpixels")
    segments = felzenszwalb(image, scale=1, sigma=1, min_size=250)
    segments = np.where(body, segments + 1, 0)
    chosen = (
        segments == segments[np.unravel_index(ndimage.gaussian_filter(spleen.astype(float), 4).argmax(), image.shape)]
    )
    coloured = label2rgb(segments, image, alpha=0.35, bg_label=0)
    coloured[find_boundaries(segments)] = 1
    labelled = paint(image, chosen, SUPPORT, 0.75)
    _picture(axes, (4, 37.3), 9.5, np.repeat(image[..., None], 3, axis=2))
    _picture(axes, (4, 25), 9.5, coloured)
    _note(axes, (8.7, 48), "training slice")
    _note(axes, (8.7, 24), "superpixels")
    _arrow(axes, (8.7, 37), (8.7, 34.8), INK)
    support, query = warp(labelled, 6, 1.12), warp(labelled, -8, 0.96)
    _picture(axes, (26, 37.3), 9.5, np.clip(support * 1.15, 0, 1), SUPPORT)
    _picture(axes, (26, 25), 9.5, np.clip(query, 0, 1) ** 1.3, QUERY)
    _note(axes, (30.7, 48), "support + pseudo-label", SUPPORT)
    _note(axes, (30.7, 24), "query + pseudo-label", QUERY)
    _arrow(axes, (13.9, 32), (25.6, 41.5), SUPPORT)
    _arrow(axes, (13.9, 29.7), (25.6, 29.7), QUERY)
    _note(axes, (19.8, 27.3), "one segment,\naugmented twice")
    _box(axes, (42, 25), (17, 22), "shared encoder", "backbone\nfrom Stage 1", INK)
    _arrow(axes, (50.5, 58.2), (50.5, 47.5), QUERY, width=3.2)
    _note(axes, (52, 54), "backbone weights", QUERY, align="left", bold=True)
    _arrow(axes, (35.8, 42), (41.6, 42), SUPPORT)
    _arrow(axes, (35.8, 29.7), (41.6, 29.7), QUERY)
    _box(axes, (68, 37.8), (18, 8.5), "ALP prototypes", "local cells + global mean", SUPPORT)
    _box(axes, (68, 25.5), (18, 8.5), "similarity", "cosine, per class", QUERY)
    _arrow(axes, (59.3, 42), (67.6, 42), SUPPORT)
    _arrow(axes, (59.3, 29.7), (67.6, 29.7), QUERY)
    _arrow(axes, (77, 37.5), (77, 34.3), SUPPORT)
    predicted = ndimage.binary_opening(warp(chosen.astype(float), -8, 1.02) > 0.5, iterations=2)
    _picture(axes, (93, 25), 9.5, paint(np.clip(warp(image, -8, 0.96), 0, 1) ** 1.3, predicted, KEY, 0.75), KEY)
    _note(axes, (97.7, 24), "prediction", KEY)
    _arrow(axes, (86.3, 29.7), (92.6, 29.7), QUERY)
    _box(axes, (109, 26.2), (19, 7), "segmentation loss", "cross-entropy", INK)
    _arrow(axes, (102.8, 29.7), (108.6, 29.7), KEY)
    _box(axes, (109, 38.5), (19, 7), "alignment loss", "cross-entropy", INK)
    _arrow(axes, (97.7, 34.8), (86.4, 40.2), KEY, dashed=True, bend=0.3)
    _arrow(axes, (86.3, 43), (108.6, 43), KEY, dashed=True)
    _note(axes, (97.6, 45.5), "reverse episode:\nprediction as support", KEY)


def _draw_testing(axes: Axes, image: np.ndarray, organs: dict[str, np.ndarray]) -> None:
    title = "Testing   Unseen organs from one annotated scan; each third of an organ uses its own support slice"
    _band(axes, "testing", (1, 1, 130, 18), title)
    kidney = organs["right kidney"]
    for shift in (1.6, 0.8, 0):
        _picture(axes, (4 + shift, 4 + shift), 8.5, paint(image, kidney, SUPPORT, 0.75), SUPPORT)
    _note(axes, (9, 2.9), "annotated support scan", SUPPORT)
    axes.text(20, 8.5, "+", ha="center", va="center", fontsize=18, color=INK)
    query = warp(image, 5, 0.94) ** 0.9
    _picture(axes, (26, 4.3), 8.5, np.repeat(query[..., None], 3, axis=2), QUERY)
    _note(axes, (30.2, 2.9), "slice of a new scan", QUERY)
    _box(axes, (42, 4), (17, 9), "trained network", "as it is, or after\nfine-tuning", INK)
    _arrow(axes, (34.8, 8.5), (41.6, 8.5), QUERY)
    _picture(axes, (72.7, 4.3), 8.5, paint(query, warp(kidney.astype(float), 5, 0.94) > 0.5, KEY, 0.75), KEY)
    _note(axes, (77, 2.9), "prediction", KEY)
    _arrow(axes, (59.3, 8.5), (72.3, 8.5), KEY)
    _box(axes, (109, 5), (19, 7), "Dice", "per organ, over 5 folds", INK)
    _arrow(axes, (81.5, 8.5), (108.6, 8.5), KEY)


def _band(axes: Axes, name: str, box: tuple[float, float, float, float], title: str) -> None:
    x, y, width, height = box
    style = "round,pad=0,rounding_size=1.5"
    axes.add_patch(FancyBboxPatch((x, y), width, height, boxstyle=style, facecolor=BANDS[name], edgecolor="none"))
    head, _, tail = title.partition("   ")
    axes.text(x + 2, y + height - 1.3, head, fontsize=13, fontweight="bold", color=INK, va="top")
    axes.text(x + 12, y + height - 1.3, tail, fontsize=12, color=MUTED, va="top")


def _box(
    axes: Axes, corner: tuple[float, float], size: tuple[float, float], title: str, detail: str, colour: str,
    small: bool = False,
) -> None:  # fmt: skip
    style = "round,pad=0,rounding_size=0.8"
    axes.add_patch(
        FancyBboxPatch(corner, *size, boxstyle=style, facecolor="white", edgecolor=colour, linewidth=1.6, zorder=3)
    )
    x, y = corner[0] + size[0] / 2, corner[1] + size[1] / 2
    lines = detail.count("\n") + 1 if detail else 0
    axes.text(x, y + 0.95 * lines, title, ha="center", va="center", fontsize=9.5 if small else 11, color=INK, zorder=4,
              fontweight="normal" if small else "bold")  # fmt: skip
    if detail:
        axes.text(x, y - 0.95, detail, ha="center", va="center", fontsize=9, color=MUTED, zorder=4, linespacing=1.1)


def _picture(axes: Axes, corner: tuple[float, float], size: float, picture: np.ndarray, frame: str = MUTED) -> None:
    x, y = corner
    axes.imshow(picture, extent=(x, x + size, y, y + size), aspect="auto", zorder=3, interpolation="bilinear")
    axes.add_patch(Rectangle(corner, size, size, fill=False, edgecolor=frame, linewidth=1.6, zorder=4))


def _arrow(
    axes: Axes, start: tuple[float, float], end: tuple[float, float], colour: str, dashed: bool = False,
    width: float = 1.4, bend: float = 0.0,
) -> None:  # fmt: skip
    axes.add_patch(
        FancyArrowPatch(
            start, end, arrowstyle="-|>", mutation_scale=8 + 3 * width, linewidth=width, color=colour, shrinkA=0,
            shrinkB=0, linestyle=(0, (3, 2)) if dashed else "-", connectionstyle=f"arc3,rad={bend}", zorder=2,
        )
    )  # fmt: skip


def _note(
    axes: Axes, place: tuple[float, float], text: str, colour: str = MUTED, align: str = "center", bold: bool = False
) -> None:
    weight = "bold" if bold else "normal"
    axes.text(
        *place, text, ha=align, va="center", fontsize=9, color=colour, fontweight=weight, linespacing=1.15, zorder=5
    )
