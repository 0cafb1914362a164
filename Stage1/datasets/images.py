"""Image files without labels: the list of a folder, and any of them as one or three planes of bytes."""

import io
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torchvision.io import ImageReadMode, decode_jpeg

EXTENSIONS = (".jpg", ".jpeg", ".png")
# An RGB image of this size takes 1.5 GB. Pillow's own limit warns of radiographs that are merely large.
MAX_PIXELS = 500_000_000


class UnreadableImageError(ValueError):
    """A file that is no whole image; the message is the reason in a few words."""


def walk_once(folder: str | Path) -> Iterator[tuple[str, list[str], list[str]]]:
    """`os.walk` in order of names, following links; a folder that is met again, by a link, is told as an empty one."""
    met = set()
    for parent, folders, names in os.walk(folder, followlinks=True):
        folders.sort()
        real = os.path.realpath(parent)
        if real in met:
            folders.clear()
            names = []
        met.add(real)
        yield parent, folders, names


def list_images(folder: str | Path) -> list[Path]:
    """Sorted paths of the image files in a folder and its subfolders, following links; each folder is listed once.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: no image in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(
            f"found no folder {folder}, expected a folder of .jpg, .jpeg or .png images; set data_root to it"
        )
    files = [
        (parent, name)
        for parent, _, names in walk_once(folder)
        for name in names
        if name.lower().endswith(EXTENSIONS) and not name.startswith(".")
    ]
    if not files:
        raise ValueError(
            f"found no image in {folder}, expected .jpg, .jpeg or .png files; set data_root to the folder that has them"
        )
    # The order of Path objects, which compare part by part, at a fraction of the time.
    files.sort(key=lambda file: "\0".join(file).replace(os.sep, "\0"))
    return [Path(*file) for file in files]


def read_image(path: str | Path) -> Tensor:
    """The image of a file, whatever its name says of its format.

    Values of more than 8 bits are scaled (see :func:`scale_to_bytes`), transparent pixels lie over black, and the
    orientation noted in EXIF is ignored, as in the published code.

    Returns:
        (1, H, W) uint8 for a grey image, also one coded as RGB; (3, H, W) uint8 RGB for any other, in any memory order.

    Raises:
        UnreadableImageError: no such file, or it is not a whole image of at most ``MAX_PIXELS``.
    """
    try:
        content = Path(path).read_bytes()
    except FileNotFoundError as error:
        raise UnreadableImageError("missing") from error
    except OSError as error:
        raise UnreadableImageError((error.strerror or str(error)).lower()) from error
    if not content:
        raise UnreadableImageError("empty file")
    kind = "image"
    try:
        with _pillow_as_parser(), Image.open(io.BytesIO(content)) as image:
            kind = image.format
            if image.width * image.height > MAX_PIXELS:
                raise UnreadableImageError(f"too large: {image.width} x {image.height} pixels")
            return _without_equal_planes(_decode(image, content))
    except (MemoryError, UnreadableImageError):
        raise
    except UnidentifiedImageError as error:
        raise UnreadableImageError("not an image") from error
    except Exception as error:  # a damaged file can make Pillow's decoders raise nearly anything
        if "truncated" in str(error).lower():
            raise UnreadableImageError(f"truncated {kind}") from error
        # One line, without the place in its source that torchvision puts before the reason.
        reason = " ".join(str(error).split()).rpartition(", ")[2] or type(error).__name__
        raise UnreadableImageError(f"damaged {kind}: {reason}") from error


def read_given_image(path: str | Path) -> Tensor:
    """As :func:`read_image`, of a file that a person named.

    Raises:
        ValueError: it cannot be read, in one sentence with its name.
    """
    try:
        return read_image(path)
    except UnreadableImageError as error:
        raise ValueError(f"found an unreadable image {path} ({error}); give a JPEG or PNG file") from error


def scale_to_bytes(image: np.ndarray) -> np.ndarray:
    """Values of any type as bytes, without clipping.

    Whole numbers are divided so that the fewest bits, at least 8, that hold the largest of them map to 0..255: 12-bit
    data in a 16-bit file keeps its contrast. If there are negative ones, the smallest is subtracted before. Fractions
    go from their minimum (0) to their maximum (255); those that are not finite become 0.

    Args:
        image: (H, W) or, scaled as one, (H, W, 3); integer or floating point.

    Returns:
        The same shape, uint8.
    """
    if np.issubdtype(image.dtype, np.floating):
        finite = np.isfinite(image)
        values = image[finite].astype(np.float64)
        low, high = (values.min(), values.max()) if values.size else (0.0, 0.0)
        scaled = np.where(finite, image, low) - low
        return np.rint(scaled * (255 / (high - low) if high > low else 0)).astype(np.uint8)
    low = min(int(image.min()), 0)
    bits = max(8, (int(image.max()) - low).bit_length())
    scaled = (image.astype(np.int64) if low else image) - low
    return np.rint(scaled * np.float64(255 / (2**bits - 1))).astype(np.uint8)


def _decode(image: Image.Image, content: bytes) -> np.ndarray:
    """Pixels of an opened image, (H, W) or (H, W, 3) uint8."""
    if image.format in ("JPEG", "MPO") and image.mode in ("L", "RGB"):
        # The same library and the same pixels as by Pillow, in half the time.
        coded = torch.frombuffer(bytearray(content), dtype=torch.uint8)
        planes = decode_jpeg(coded, mode=ImageReadMode.UNCHANGED).numpy()  # (1 or 3, H, W)
        return planes[0] if len(planes) == 1 else planes.transpose(1, 2, 0)
    if image.mode.startswith("I") or image.mode == "F":
        return scale_to_bytes(np.array(image))
    deep = _decode_deep_colours(image, content)
    if deep is not None:
        return scale_to_bytes(deep)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        over_black = Image.new("RGB", image.size)
        over_black.paste(image, mask=image)
        return np.array(over_black)
    return np.array(image.convert("L" if image.mode in ("1", "L") else "RGB"))


def _decode_deep_colours(image: Image.Image, content: bytes) -> np.ndarray | None:
    """Colours of more than 8 bits, (H, W, 3) uint16 over black, which Pillow would cut to their high bytes."""
    if image.format not in ("PNG", "TIFF", "JPEG2000") or (image.format == "PNG" and content[24] <= 8):
        return None
    pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint16 or pixels.ndim != 3:
        return None
    if pixels.shape[2] == 4:
        pixels = np.rint(pixels[..., :3] * (pixels[..., 3:] / 65535)).astype(np.uint16)
    return pixels[..., ::-1]


def _without_equal_planes(image: np.ndarray) -> Tensor:
    """(H, W) or (H, W, 3) as (1 or 3, H, W); three equal planes become one, which spares later steps two thirds."""
    if image.ndim == 2:
        return torch.from_numpy(image)[None]
    sample = image[::16, ::16]
    if (sample == sample[..., :1]).all():  # settles most colour images in a hundredth of the time
        red, green, blue = cv2.split(image)
        if np.array_equal(red, green) and np.array_equal(red, blue):
            return torch.from_numpy(red)[None]
    return torch.from_numpy(image).permute(2, 0, 1)


@contextmanager
def _pillow_as_parser() -> Iterator[None]:
    """Pillow without its warnings and its limit of pixels, inside the block only."""
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit
