"""Image files of every kind found in radiology collections, as 8-bit grey or RGB tensors."""

import io
import os
import struct
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torchvision.io import ImageReadMode, decode_jpeg

EXTENSIONS = (".jpg", ".jpeg", ".png")
MAX_PIXELS = 500_000_000  # decoded as RGB 1.5 GB; more is taken for damage
# Pillow's own limit would refuse scanned films; ours is checked before anything is decoded.
Image.MAX_IMAGE_PIXELS = None

# What Pillow raises for damaged files.
DAMAGE = (OSError, ValueError, SyntaxError, EOFError, OverflowError, struct.error)


class UnreadableImageError(ValueError):
    """A file that holds no whole image; the message is the reason in a few words."""


def list_images(folder: Path) -> list[Path]:
    """Sorted paths of the image files in a folder and its subfolders.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: no file named like an image in it.
    """
    if not folder.is_dir():
        raise FileNotFoundError(
            f"found no folder {folder}, expected a folder of .jpg, .jpeg or .png images; set data_root to it"
        )
    paths = sorted(
        Path(parent, name)
        for parent, _, names in os.walk(folder, followlinks=True)
        for name in names
        if name.lower().endswith(EXTENSIONS) and not name.startswith(".")
    )
    if not paths:
        raise ValueError(
            f"found no image in {folder}, expected .jpg, .jpeg or .png files; set data_root to the folder that has them"
        )
    return paths


def read_image(path: Path) -> Tensor:
    """The (first) image of a file, whatever its kind, as stored: an orientation noted in EXIF is not applied.

    16-bit and floating-point greys are scaled to 8 bits and never clipped, transparency is composited over black, CMYK
    is converted.

    Returns:
        uint8, (1, H, W) where the image is grey, even if stored as RGB, otherwise (3, H, W).

    Raises:
        UnreadableImageError: the file is missing, truncated, not an image, or larger than ``MAX_PIXELS``.
    """
    try:
        content = path.read_bytes()
        if not content:
            raise UnreadableImageError("empty file")
        with Image.open(io.BytesIO(content)) as image:
            if image.width * image.height > MAX_PIXELS:
                raise UnreadableImageError(f"too large: {image.width} x {image.height} pixels")
            # torchvision decodes plain JPEGs to the same pixels in two thirds of Pillow's time.
            pixels = decode_plain_jpeg(content) if image.format == "JPEG" and image.mode in ("L", "RGB") else None
            pixels = to_8_bits(image) if pixels is None else pixels
    except UnreadableImageError:
        raise
    except DAMAGE as error:
        raise UnreadableImageError(reason_of(error)) from error
    return torch.from_numpy(single_channel_if_grey(pixels)).permute(2, 0, 1)


def decode_plain_jpeg(content: bytes) -> np.ndarray | None:
    """Pixels (H, W, C) of a grey or RGB JPEG; None if it is damaged, so that Pillow may say how."""
    try:
        encoded = torch.frombuffer(bytearray(content), dtype=torch.uint8)
        return decode_jpeg(encoded, ImageReadMode.UNCHANGED).permute(1, 2, 0).numpy()
    except RuntimeError:
        return None


def to_8_bits(image: Image.Image) -> np.ndarray:
    """Pixels (H, W, 1 or 3) uint8 of a Pillow image of any mode."""
    if image.mode == "F" or image.mode.startswith("I"):
        return scale_grey(np.asarray(image))[:, :, None]
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), image)
    pixels = np.array(image.convert("L" if image.mode in ("1", "L") else "RGB"))
    return pixels[:, :, None] if pixels.ndim == 2 else pixels


def scale_grey(pixels: np.ndarray) -> np.ndarray:
    """Greys of more than 8 bits (H, W) as uint8.

    Integers: the smallest number of whole bits that holds the image's maximum becomes 0..255, so that 12-bit scans kept
    in 16-bit files stay bright. Floats: from the image's minimum to its maximum.
    """
    pixels = pixels.astype(np.float64)
    if not np.isfinite(pixels).all():
        raise UnreadableImageError("pixels that are not finite numbers")
    low, high = min(0.0, pixels.min()), pixels.max()
    if (pixels == pixels.round()).all():
        top = 2.0 ** max(8, int(high - low).bit_length()) - 1
    else:
        low = pixels.min()
        top = high - low
    return np.rint((pixels - low) * (255 / top)).astype(np.uint8)


def single_channel_if_grey(pixels: np.ndarray) -> np.ndarray:
    """(H, W, 3) pixels with three equal channels as (H, W, 1); others as they are."""
    if pixels.shape[2] == 1:
        return pixels
    first, *others = cv2.split(pixels)
    return first[:, :, None] if all(np.array_equal(first, other) for other in others) else pixels


def reason_of(error: Exception) -> str:
    """An exception of a damaged file in a few words."""
    if isinstance(error, UnidentifiedImageError):
        return "not an image"
    if isinstance(error, FileNotFoundError):
        return "missing"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    text = str(error).split("\n")[0]
    return "truncated" if "truncated" in text.lower() else text or type(error).__name__
