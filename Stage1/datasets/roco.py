"""The published ROCO tree made into one flat folder of readable images: links to them, copies or smaller ones."""

import io
import json
import logging
import shutil
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

from PIL import Image
from torch import Tensor
from tqdm import tqdm

from Stage1.datasets.images import EXTENSIONS, UnreadableImageError, list_images, read_image, walk_once
from Stage1.datasets.radiographs import MAX_UNREADABLE
from Stage1.files import locked, remove_partial, whole_file, write_text
from Stage1.processes import run_jobs

RADIOLOGY = ("train", "radiology", "images")
RECORD = "roco.json"
REPORT = "unreadable.txt"
JPEG_QUALITY = 95
BATCH = 32  # images for a process at a time
# Fewer images are made by one process before others have so much as loaded PyTorch.
PARALLEL_FROM = 2000
SECONDS_BETWEEN_RECORDS = 10

State = list[str | int]  # of a file: path, size in bytes and time of change (ns)

logger = logging.getLogger(__name__)


class RocoCounts(NamedTuple):
    """What a preparation did: images made now, images that were there already, and files left out as unreadable."""

    made: int
    kept: int
    unreadable: int


@dataclass(frozen=True)
class RocoSettings:
    """What decides the content of a folder; ``longest_side`` is None where images keep their size."""

    source: str
    mode: str
    longest_side: int | None

    def __str__(self) -> str:
        return f"{self.source} with mode {self.mode}, longest side {self.longest_side or 'as it is'}"


class ImageJob(NamedTuple):
    """One image to be made, and the state its file was in; None if it cannot be read."""

    source: Path
    target: Path
    state: State | None


def prepare_roco(
    source: Path, out: Path, mode: str = "link", longest_side: int | None = None,
    workers: int = 1, force: bool = False, show_progress: bool = False,
) -> RocoCounts:  # fmt: skip
    """Makes a flat folder of the images of a ROCO tree that can be read to the end.

    A run that was interrupted goes on where it stopped; a later run makes only images that are new or have changed, and
    removes those that are gone from the source. Unreadable files are listed in ``<out>/unreadable.txt``.

    Args:
        source: the unpacked data set; see :func:`find_images`.
        out: folder to make or to complete.
        mode: "link" (symbolic links to the source) or "copy".
        longest_side: images with a longer side are written anew, shrunk to it.
        workers: processes.
        force: makes everything anew, also in a folder made with other settings.
        show_progress: draws a bar.

    Raises:
        FileNotFoundError: no such source.
        ValueError: no image in it, one folder lies in the other, or ``out`` was made otherwise.
        OSError: ``out`` cannot be written, or another process works there.
    """
    source, out = source.resolve(), out.resolve()
    if out.is_relative_to(source) or source.is_relative_to(out):
        raise ValueError(f"found {out} and {source} one inside the other, expected two folders apart; move one of them")
    names = flat_names(*find_images(source))
    settings = RocoSettings(str(source), mode, longest_side)
    with locked(out):
        remove_partial(out)
        return _complete(out, names, {} if force else read_record(out, settings), settings, workers, show_progress)


def find_images(source: Path) -> tuple[list[Path], Path]:
    """Paths of the images to take, and the folder above all of them.

    Where folders ``train/radiology/images`` lie in the source (or the source in one), only their images are taken: not
    those of ``non-radiology``, ``validation`` and ``test``. Else, all images of the source.
    """
    if not source.is_dir():
        raise FileNotFoundError(f"found no folder {source}, expected the unpacked ROCO data set; give its folder")
    found = {}  # a folder that is linked to twice is taken once
    for parent, folders, _ in walk_once(source):
        if Path(parent).parts[-3:] == RADIOLOGY:
            found.setdefault(Path(parent).resolve(), Path(parent))
            folders.clear()
    taken = sorted(found.values()) or [source]
    paths = []
    for folder in taken:
        try:
            paths += list_images(folder)
        except ValueError as error:
            raise ValueError(
                f"found no image in {folder}, expected .jpg, .jpeg or .png files; fetch ROCO's images first or give "
                "the folder that has them"
            ) from error
    kind = "radiology images for training" if found else "all images (there is no train/radiology/images)"
    logger.info("Taking %s: %d in %s", kind, len(paths), ", ".join(map(str, taken)))
    return paths, taken[0] if len(taken) == 1 else source


def flat_names(paths: Sequence[Path], top: Path) -> dict[str, Path]:
    """Name in the flat folder -> path. Paths that share their name get their subfolders' names before it."""
    count = Counter(path.name for path in paths)
    names = {path.name: path for path in paths if count[path.name] == 1}
    shared = [path for path in paths if count[path.name] > 1]
    for path in shared:
        name = "__".join(path.relative_to(top).parts)
        while name in names:
            name = f"_{name}"
        names[name] = path
    if shared:
        logger.info(
            "%d images share their names with others; those in subfolders are named <subfolder>__<name>, such as %s",
            len(shared),
            "__".join(max(shared, key=lambda path: len(path.parts)).relative_to(top).parts),
        )
    return names


def read_record(out: Path, settings: RocoSettings) -> dict[str, State]:
    """The images that a folder holds already: name -> state of the file they were made from.

    Raises:
        ValueError: the folder was made with other settings or by something else.
    """
    remedy = "choose another folder, or make it anew with --force"
    path = out / RECORD
    if not path.is_file():
        if any(path.suffix.lower() in EXTENSIONS for path in out.iterdir()):
            raise ValueError(f"found images but no {RECORD} in {out}, expected an empty folder; {remedy}")
        return {}
    try:
        record = json.loads(path.read_text())
        found, done = RocoSettings(**record["settings"]), dict(record["files"])
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ValueError(f"found a damaged record {path}, expected what this command writes; {remedy}") from error
    if found != settings:
        raise ValueError(f"found {out} made from {found}, but asked for {settings}; {remedy}")
    return done


def make_image(job: ImageJob, settings: RocoSettings) -> str | None:
    """Puts an image into its place at once and whole; returns the reason if it is unreadable and so left out."""
    try:
        image = read_image(job.source)
    except UnreadableImageError as error:
        job.target.unlink(missing_ok=True)  # of an earlier, readable version
        return str(error)
    with whole_file(job.target) as temporary:
        if settings.longest_side and max(image.shape[1:]) > settings.longest_side:
            encoded = io.BytesIO()  # Pillow does not say why it cannot write to a file
            kind = "PNG" if job.target.suffix.lower() == ".png" else "JPEG"
            shrink(image, settings.longest_side).save(encoded, kind, quality=JPEG_QUALITY)
            temporary.write_bytes(encoded.getbuffer())
        elif settings.mode == "link":
            temporary.symlink_to(job.source)
        else:
            shutil.copyfile(job.source, temporary)
    return None


def shrink(image: Tensor, longest_side: int) -> Image.Image:
    """An image, (1, H, W) or (3, H, W) uint8, in the same proportions at a longest side, smoothed against aliasing."""
    height, width = image.shape[1:]
    scale = longest_side / max(height, width)
    pixels = image[0] if len(image) == 1 else image.permute(1, 2, 0)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return Image.fromarray(pixels.numpy()).resize(size, Image.Resampling.LANCZOS)


def _complete(
    out: Path, names: dict[str, Path], done: dict[str, State],
    settings: RocoSettings, workers: int, show_progress: bool,
) -> RocoCounts:  # fmt: skip
    """Makes what is missing in a folder and brings its record and its list of unreadable files up to date."""
    for name in done.keys() - names.keys():
        (out / name).unlink(missing_ok=True)
    there = {path.name for path in out.iterdir()}
    states = {name: _state(path) for name, path in sorted(names.items())}
    done = {name: state for name, state in states.items() if name in there & done.keys() and state == done[name]}
    jobs = [ImageJob(names[name], out / name, state) for name, state in states.items() if name not in done]
    kept = len(done)
    unreadable = {}
    _write_record(out, settings, done)  # first, as it shows at once whether the folder can be written
    written = time.monotonic()
    batches = [jobs[start : start + BATCH] for start in range(0, len(jobs), BATCH)]
    results = run_jobs(partial(_make_batch, settings), batches, workers if len(jobs) >= PARALLEL_FROM else 1)
    try:
        with tqdm(total=len(jobs), unit="image", disable=not (show_progress and jobs)) as progress:
            for batch in results:
                done |= {job.target.name: job.state for job, reason in batch if reason is None}
                unreadable |= {str(job.source): reason for job, reason in batch if reason is not None}
                progress.update(len(batch))
                if time.monotonic() - written > SECONDS_BETWEEN_RECORDS:
                    _write_record(out, settings, done)
                    written = time.monotonic()
    finally:
        _write_record(out, settings, done)
    with whole_file(out / REPORT) as temporary:
        lines = "".join(f"{path}\t{reason}\n" for path, reason in sorted(unreadable.items()))
        temporary.write_text(lines, encoding="utf-8", errors="surrogateescape")
    if len(unreadable) > MAX_UNREADABLE * len(names):
        logger.warning(
            "WARNING: found %d of %d images unreadable (%.1f %%), expected at most %.0f %%; fetch those in %s again",
            len(unreadable), len(names), 100 * len(unreadable) / len(names), 100 * MAX_UNREADABLE, out / REPORT,
        )  # fmt: skip
    return RocoCounts(len(done) - kept, kept, len(unreadable))


def _make_batch(settings: RocoSettings, jobs: Sequence[ImageJob]) -> list[tuple[ImageJob, str | None]]:
    return [(job, make_image(job, settings)) for job in jobs]


def _state(path: Path) -> State | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return [str(path), status.st_size, status.st_mtime_ns]


def _write_record(out: Path, settings: RocoSettings, done: dict[str, State]) -> None:
    write_text(out / RECORD, json.dumps({"settings": asdict(settings), "files": dict(sorted(done.items()))}))
