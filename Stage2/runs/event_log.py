"""Scalars and pictures of a training for TensorBoard, in the run folder."""

import io
import logging
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from PIL import Image
from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter

PATTERN = "events.out.tfevents.*"

logger = logging.getLogger(__name__)


class EventLog:
    """An event file of a run; a context manager that closes it.

    A file that cannot be written (disk full) ends the log with a warning, not the training: metrics.json and the state
    to resume from hold the same scalars.

    Args:
        folder: the run folder, which exists.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        self._writer: EventFileWriter | None = EventFileWriter(str(folder))

    def __enter__(self) -> "EventLog":
        return self

    def __exit__(self, *_: object) -> None:
        self._attempt("close")
        self._writer = None

    def add_scalars(self, step: int, scalars: Mapping[str, float]) -> None:
        """Values of a step, by name."""
        self._add(step, [Summary.Value(tag=name, simple_value=value) for name, value in scalars.items()])

    def add_picture(self, step: int, name: str, picture: np.ndarray) -> None:
        """A picture of a step, (H, W, 3) uint8."""
        stream = io.BytesIO()
        Image.fromarray(picture).save(stream, format="PNG")
        height, width, channels = picture.shape
        image = Summary.Image(height=height, width=width, colorspace=channels, encoded_image_string=stream.getvalue())
        self._add(step, [Summary.Value(tag=name, image=image)])

    def copy_pictures(self, source: Path, last_step: int) -> None:
        """The pictures of another run folder up to a step, which a resumed run takes over."""
        for event in read_events(source):
            if event.step <= last_step and any(value.HasField("image") for value in event.summary.value):
                self._attempt("add_event", event)

    def flush(self) -> None:
        """Have everything on disk."""
        self._attempt("flush")

    def _add(self, step: int, values: list[Summary.Value]) -> None:
        self._attempt("add_event", Event(wall_time=time.time(), step=step, summary=Summary(value=values)))

    def _attempt(self, method: str, *arguments: Event) -> None:
        if self._writer is None:
            return
        try:
            getattr(self._writer, method)(*arguments)
        except OSError as error:
            logger.warning("%s: the log for TensorBoard ends here (%s)", self._folder, error.strerror or error)
            self._writer = None


def read_events(folder: Path) -> Iterator[Event]:
    """Events of a run folder, in order; what a killed process left half written is passed over."""
    for path in sorted(folder.glob(PATTERN)):
        yield from LegacyEventFileLoader(str(path)).Load()
