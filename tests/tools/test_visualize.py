"""Every subcommand writes its figure from run folders, and says in one sentence when it cannot."""

import json
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
import torch
from PIL import Image
from stage2.reporting.drawn_cohort import write_cohort, write_tested
from tool_modules import load_tool

from Stage1.models.backbone import ResNetC5

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def visualize():
    return load_tool("visualize")


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Path:
    return write_cohort(tmp_path_factory.mktemp("data"))


def test_segmentation_writes_a_grid_with_yellow_masks(visualize, cohort: Path, tmp_path: Path, capsys):
    """Both label sets share a column; the scans are found through config.json."""
    write_tested(tmp_path / "kidneys", {"1": 0.1, "2": 0.2}, [3, 6, 9])
    write_tested(tmp_path / "liver", {"1": 0.1}, [3, 6, 9], name="LIVER", label=2, path={"data_dir": str(cohort)})
    out = tmp_path / "grid.png"
    runs = [f"ours={tmp_path / 'liver'}", f"ours={tmp_path / 'kidneys' / '1'}"]
    assert visualize.main(["segmentation", *runs, "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"{out}\n"
    picture = matplotlib.image.imread(out)[..., :3]
    height, width = picture.shape[:2]
    assert 1.0 < width / height < 1.5  # two organs, three columns
    yellow = (picture[..., 0] > picture[..., 2] + 0.2) & (picture[..., 1] > picture[..., 2] + 0.2)
    thirds = [third.mean() for third in np.array_split(yellow, 3, axis=1)]
    assert min(thirds) > 0.005
    assert thirds[2] > 2 * thirds[1]  # 64 pixels are true, 16 predicted


def test_volume_writes_a_film_or_a_sheet(visualize, cohort: Path, tmp_path: Path):
    write_tested(tmp_path / "a", {"2": 0.1}, [3, 6, 9])
    arguments = ["volume", str(tmp_path / "a"), "--data", str(cohort), "--out"]
    assert visualize.main([*arguments, str(tmp_path / "film.gif")]) == 0
    film = Image.open(tmp_path / "film.gif")
    assert (film.n_frames, film.size) == (12, (64, 64))
    assert visualize.main([*arguments, str(tmp_path / "sheet.png"), "--scan", "2"]) == 0
    assert matplotlib.image.imread(tmp_path / "sheet.png").shape[1] == 1320  # six slices wide


def test_superpixels_and_losses(visualize, cohort: Path, tmp_path: Path):
    assert visualize.main(["superpixels", str(cohort), "--scan", "1", "--out", str(tmp_path / "s.png")]) == 0
    assert (tmp_path / "s.png").stat().st_size > 10_000
    file = tmp_path / "work" / "20260101" / "vis_data" / "scalars.json"
    file.parent.mkdir(parents=True)
    file.write_text('{"step": 20, "loss": 1.5}\n')
    (tmp_path / "train" / "3").mkdir(parents=True)
    scalars = {name: {"steps": [1, 2], "values": [1.0, 0.5]} for name in ("query_loss", "align_loss", "lr")}
    (tmp_path / "train" / "3" / "metrics.json").write_text(json.dumps(scalars))
    arguments = ["losses", f"training={tmp_path / 'train'}", "--stage1", str(tmp_path / "work")]
    assert visualize.main([*arguments, "--out", str(tmp_path / "losses.png")]) == 0
    assert (tmp_path / "losses.png").stat().st_size > 5000


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["losses", "--stage1", "{tmp}"], "no */vis_data/scalars.json in"),
        (["losses", "{tmp}/none"], "holds metrics.json"),
        (["losses", "a={tmp}/x", "a={tmp}/y"], "are both headed 'a'; give each its own, as HEADING=FOLDER"),
        (["losses", "{tmp}/x/test", "{tmp}/y/test"], "are both headed 'test'; give each its own"),
        (
            ["segmentation", "a={tmp}/moved", "a={tmp}/again", "--data", "{data}"],
            "share a heading and both tested RK in scan 2; give each its own",
        ),
        (["segmentation", "{tmp}/none", "--data", "{tmp}"], "holds results.json"),
        (["volume", "{tmp}/none"], "holds results.json"),
        (["segmentation", "{tmp}/moved"], "tested are not where it found them; name them by --data"),
        (["volume", "{tmp}/moved", "--data", "{data}", "--scan", "7"], "scan 7 was not tested in"),
        (["superpixels", "{tmp}", "--scan", "1"], "image_1.nii.gz"),
    ],
)
def test_what_cannot_be_drawn_is_one_sentence(visualize, cohort, tmp_path: Path, capsys, arguments, sentence: str):
    for name in ("moved", "again"):
        write_tested(tmp_path / name, {"2": 0.1}, [3, 6, 9], path={"data_dir": str(tmp_path / "gone")})
    arguments = [argument.format(tmp=tmp_path, data=cohort) for argument in arguments]
    assert visualize.main([*arguments, "--out", str(tmp_path / "x.png")]) == 1
    error = capsys.readouterr().err
    assert error.startswith("visualize.py: ")
    assert sentence in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "x.png").exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["overview", "--out", "x.gif"], "--out x.gif: expected a name that ends in .png"),
        (["volume", "a", "--out", "x.mp4"], "--out x.mp4: expected a name that ends in .png or .gif"),
        (["superpixels", "a", "--scan", "1", "--count", "0", "--out", "x.png"], "0 is not possible"),
    ],
)
def test_wrong_options_are_refused(visualize, capsys, arguments: list[str], sentence: str):
    with pytest.raises(SystemExit):
        visualize.main(arguments)
    assert sentence in capsys.readouterr().err


def test_correspondence_draws_two_views_of_an_image(visualize, tmp_path: Path, capsys):
    torch.manual_seed(0)
    torch.save(ResNetC5(18).state_dict(), tmp_path / "resnet18.pth")
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 120), dtype=np.uint8)).save(tmp_path / "scan.png")
    options = ["--image-size", "96", "--out", str(tmp_path / "cells.png")]
    arguments = ["correspondence", str(tmp_path / "resnet18.pth"), str(tmp_path / "scan.png"), *options]
    assert visualize.main(arguments) == 0
    assert (tmp_path / "cells.png").stat().st_size > 20_000
    (tmp_path / "scan.png").write_text("no image")
    assert visualize.main(arguments) == 1
    assert visualize.main(["correspondence", str(tmp_path / "absent.pth"), str(tmp_path / "scan.png"), *options]) == 1
    unreadable, absent = capsys.readouterr().err.splitlines()
    assert unreadable.startswith("visualize.py: ")
    assert "scan.png" in unreadable
    assert "not an image" in unreadable
    assert "found no file" in absent


def test_reconstruction_draws_a_row_for_every_image(visualize, tmp_path: Path, capsys):
    from mmengine.registry import MODELS

    from Stage1.runs.config import load_config

    small = {"model.width": 8, "model.depths": "1,1,1,1", "model.heads": "1,1,2,2", "model.window": 2}
    cfg = load_config("configs/selfsup/simmim/simmim_demo.py", small)
    cfg.dump(tmp_path / "config.py")
    torch.save({"state_dict": MODELS.build(cfg.model).state_dict()}, tmp_path / "epoch_1.pth")
    for name in ("a.png", "b.png"):
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 120), dtype=np.uint8)).save(tmp_path / name)
    images = [str(tmp_path / name) for name in ("a.png", "b.png")]
    out = tmp_path / "rebuilt.png"
    arguments = ["reconstruction", str(tmp_path / "config.py"), str(tmp_path / "epoch_1.pth")]
    assert visualize.main([*arguments, *images, "--seed", "1", "--out", str(out)]) == 0
    height, width = matplotlib.image.imread(out).shape[:2]
    assert 1.2 < width / height < 1.6  # two rows of three panels
    out.unlink()
    (tmp_path / "b.png").write_text("no image")
    assert visualize.main([*arguments, *images, "--out", str(out)]) == 1
    (error,) = capsys.readouterr().err.splitlines()
    assert error.startswith("visualize.py: found an unreadable image") and "b.png" in error
    assert not out.exists()


def test_the_overview_in_the_documentation_is_the_one_that_is_drawn(visualize, tmp_path: Path):
    out = tmp_path / "method.png"
    assert visualize.main(["overview", "--out", str(out)]) == 0
    drawn, kept = (matplotlib.image.imread(path) for path in (out, ROOT / "docs" / "method.png"))
    assert drawn.shape == kept.shape
    assert np.abs(drawn - kept).mean() < 0.01
    assert (ROOT / "docs" / "method.png").stat().st_size < 300_000
