"""Pictures of what masked tasks rebuild: pixels, panels, and the figure of a checkpoint."""

import numpy as np
import pytest
import torch
from mmengine.registry import MODELS
from PIL import Image
from stage1.conftest import TINY_TASKS, demo_of

from Stage1.reconstruction import reconstruct, reconstruction_figure
from Stage1.runs.config import load_config
from Stage1.runs.pictures import panel_pixels, sheet

MEAN, STD = torch.full((1, 3, 1, 1), 0.4), torch.full((1, 3, 1, 1), 0.2)


@pytest.mark.parametrize(("rows", "count", "height", "width"), [(1, 1, 1, 1), (2, 3, 4, 5), (3, 1, 2, 1)])
def test_panels_are_pixels_beside_each_other(rows, count, height, width):
    panels = torch.randn(rows, count, 3, height, width, generator=torch.Generator().manual_seed(0))
    pixels, whole = panel_pixels(panels, MEAN, STD), sheet(panels, MEAN, STD)
    assert (pixels.dtype, pixels.shape) == (np.uint8, (rows, count, height, width, 3))
    assert whole.shape == (rows * height, count * width, 3)
    for row in range(rows):
        for panel in range(count):
            for y in range(height):
                for x in range(width):
                    for channel in range(3):
                        value = min(max(panels[row, panel, channel, y, x].item() * 0.2 + 0.4, 0), 1) * 255
                        assert abs(pixels[row, panel, y, x, channel] - value) <= 0.501
                        assert whole[row * height + y, panel * width + x, channel] == pixels[row, panel, y, x, channel]


@pytest.fixture(scope="module")
def run(tmp_path_factory, radiographs):
    """A config of a tiny MAE and a checkpoint of it."""
    folder = tmp_path_factory.mktemp("mae")
    options = {key: str(value) for key, value in (TINY_TASKS["mae"] | {"data_root": radiographs}).items()}
    cfg = load_config(demo_of("mae"), options)
    cfg.dump(folder / "config.py")
    torch.manual_seed(3)
    torch.save({"state_dict": MODELS.build(cfg.model).state_dict()}, folder / "epoch_1.pth")
    return folder


def test_images_are_taken_whole_and_hidden_by_the_seed(run, radiographs):
    paths = [radiographs / "00.jpg", radiographs / "01.jpg"]
    panels = reconstruct(run / "config.py", run / "epoch_1.pth", paths, seed=4)
    assert panels.shape == (2, 3, 32, 32, 3)
    small = np.asarray(Image.open(paths[0]).resize((32, 32), Image.Resampling.BILINEAR)).astype(int)
    assert np.abs(panels[0, 0].astype(int) - small[..., None]).max() <= 4
    patches = panels[0].reshape(3, 2, 16, 2, 16, 3).swapaxes(2, 3).reshape(3, 4, -1)  # 2 x 2 of 16 pixels
    hidden = (patches[1] != patches[0]).any(axis=1)
    assert hidden.sum() == 3
    assert (patches[2][~hidden] == patches[0][~hidden]).all()
    assert (patches[2][hidden] != patches[1][hidden]).any(axis=1).all()
    again = reconstruct(run / "config.py", run / "epoch_1.pth", paths[1:], seed=5)
    assert np.array_equal(again[0], panels[1])  # the second image has the next seed
    other = reconstruct(run / "config.py", run / "epoch_1.pth", paths[:1], seed=5)
    assert not np.array_equal(other[0, 1], panels[0, 1])


def test_the_figure_has_titles_and_names():
    figure = reconstruction_figure(np.zeros((2, 3, 8, 8, 3), np.uint8), ["a.jpg", "b.jpg"], "epoch_1.pth")
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == ["image", "visible", "rebuilt", "", "", ""]
    assert [axes.get_ylabel() for axes in figure.axes][::3] == ["a.jpg", "b.jpg"]


def test_what_cannot_be_drawn_is_refused(run, radiographs, tmp_path):
    image = radiographs / "00.jpg"
    with pytest.raises(ValueError, match=r"found SimCLR in .*, a pretext task that rebuilds no images"):
        reconstruct(demo_of("simclr"), run / "epoch_1.pth", [image])
    with pytest.raises(ValueError, match=r"found tensors in .*epoch_1\.pth that do not fit MAE of .*mae_demo\.py \("):
        reconstruct(demo_of("mae"), run / "epoch_1.pth", [image])
    with pytest.raises(FileNotFoundError, match=r"found no file .*absent\.pth"):
        reconstruct(run / "config.py", "absent.pth", [image])
    (tmp_path / "bad.png").write_text("no image")
    with pytest.raises(ValueError, match=r"found an unreadable image .*bad\.png"):
        reconstruct(run / "config.py", run / "epoch_1.pth", [image, tmp_path / "bad.png"])
