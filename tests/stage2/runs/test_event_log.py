"""The log for TensorBoard: what is added is read back, a torn tail is passed over, a full disk stops no training."""

import errno
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from stage2.optimisation.toy import OPTIONS, Notes, assert_same_weights, new_training, toy_episodes

from Stage2.drawing.masks import MASK, rgb
from Stage2.optimisation.loop import Cadence, train
from Stage2.runs.episode_picture import GAP, episode_picture
from Stage2.runs.event_log import PATTERN, EventLog, read_events


def tags(folder: Path) -> list[tuple[str, int]]:
    return [(value.tag, event.step) for event in read_events(folder) for value in event.summary.value]


def test_a_killed_runs_pictures_go_over_up_to_the_step_that_it_is_resumed_at(tmp_path: Path):
    first, second = tmp_path / "1", tmp_path / "2"
    first.mkdir(), second.mkdir()
    picture = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    with EventLog(first) as log:
        for step in (10, 20, 30):
            log.add_scalars(step, {"loss": step / 10})
            log.add_picture(step, "episode", picture)
    (file,) = first.glob(PATTERN)
    os.truncate(file, file.stat().st_size - 100)  # killed while it wrote the last picture
    assert tags(first) == [("loss", 10), ("episode", 10), ("loss", 20), ("episode", 20), ("loss", 30)]
    with EventLog(second) as log:
        log.copy_pictures(first, 10)
        log.add_picture(20, "episode", picture)
    assert tags(second) == [("episode", 10), ("episode", 20)]
    one, other = (event.summary.value[0].image for event in list(read_events(second))[-2:])
    assert one == other
    assert (one.height, one.width) == (20, 30)


def test_a_disk_without_room_ends_the_log_with_one_warning(tmp_path: Path, monkeypatch, caplog):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with EventLog(tmp_path) as log:
        log.add_scalars(1, {"loss": 1.0})
        log.flush()
        monkeypatch.setattr("tensorboard.summary.writer.event_file_writer.EventFileWriter.add_event", full)
        log.add_scalars(2, {"loss": 1.0})
        log.add_scalars(3, {"loss": 1.0})
        log.flush()
    assert caplog.text.count("the log for TensorBoard ends here (No space left on device)") == 1
    assert tags(tmp_path) == [("loss", 1)]


@pytest.mark.parametrize("shots", [1, 3])
def test_the_picture_shows_four_panels_with_their_masks(shots: int):
    generator = torch.Generator().manual_seed(0)
    image = torch.rand((1, 3, 16, 16), generator=generator)
    support = torch.zeros((shots, 16, 16))
    support[0, :4] = 1
    label = torch.zeros((1, 16, 16), dtype=torch.int64)
    label[0, :, 8:], label[0, 0] = 1, 255  # a row to ignore is no mask
    logits = torch.zeros((1, 2, 16, 16))
    logits[0, 1, 12:] = 1
    episode = {"support_image": image.expand(shots, -1, -1, -1), "support_foreground": support, "query_image": image,
               "query_label": label, "logits": logits}  # fmt: skip
    picture = episode_picture(episode)
    assert picture.shape == (16, 4 * 16 + 3 * GAP, 3)
    panels = [picture[:, start : start + 16].astype(int) for start in range(0, 4 * (16 + GAP), 16 + GAP)]
    bare = panels[1]
    assert np.all(bare[..., 0] == bare[..., 2])
    for panel, mask in ((panels[0], support[0] == 1), (panels[2], logits[0, 1] == 1), (panels[3], label[0] == 1)):
        painted = mask.numpy()
        np.testing.assert_array_equal(panel[~painted], bare[~painted])
        np.testing.assert_allclose(panel[painted], (bare[painted] + rgb(MASK)) / 2, atol=1)


class _Pictures(Notes):
    """Draws every episode that it is shown."""

    def __init__(self):
        super().__init__()
        self.drawn = []

    def on_picture(self, step, episode):
        self.drawn.append((step, episode_picture(episode).shape))


def test_pictures_change_no_number_of_a_training():
    plain, drawn = new_training(), new_training()
    notes, pictures = Notes(), _Pictures()
    train(plain, toy_episodes(), Cadence(2, report=1, snapshot=2), notes, **OPTIONS)
    train(drawn, toy_episodes(), Cadence(2, report=1, snapshot=2, picture=1), pictures, **OPTIONS)
    assert pictures.drawn == [(1, (64, 268, 3)), (2, (64, 268, 3))]
    assert notes.reports == pictures.reports
    assert_same_weights(plain.model, drawn.model)
