"""What a file in a folder of DICOM files is: a slice of a scan, something else, or why it cannot be read."""

import re
from pathlib import Path

# SOP classes of what is no scan, the first that fits: some have pixels, some lie on the grid of a scan.
_NOT_SCANS = {
    "1.2.840.10008.1.3.10": "an index of a medium",
    "1.2.840.10008.5.1.4.1.1.66.4": "a segmentation",
    "1.2.840.10008.5.1.4.1.1.66": "raw data or a registration",
    "1.2.840.10008.5.1.4.1.1.481.2": "a radiotherapy dose",
    "1.2.840.10008.5.1.4.1.1.481.3": "radiotherapy structures",
    "1.2.840.10008.5.1.4.1.1.481": "a radiotherapy plan, image or record",
    "1.2.840.10008.5.1.4.1.1.88": "a report",
    "1.2.840.10008.5.1.4.1.1.104": "a document",
    "1.2.840.10008.5.1.4.1.1.11": "a presentation state",
    "1.2.840.10008.5.1.4.1.1.9": "a waveform",
    "1.2.840.10008.5.1.4.1.1.67": "a mapping of values",
    "1.2.840.10008.5.1.4.1.1.68": "a surface",
    "1.2.840.10008.5.1.4.1.1.4.2": "a spectrum",
    "1.2.840.10008.5.1.4.34": "a worklist or plan",
    "1.2.840.10008.5.1.4.43": "a palette of colours",
}
_UNCOMPRESSED = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2")  # transfer syntaxes
_PIXELS = (b"\xe0\x7f\x10\x00", b"\x7f\xe0\x00\x10")  # tag of PixelData, of either byte order
_SYNTAX = re.compile(rb"\x02\x00\x10\x00UI..([\d.]+)", re.DOTALL)
# MediaStorageSOPClassUID, or SOPClassUID with an implicit or explicit type, of either byte order.
_CLASS = re.compile(rb"(?:\x02\x00\x02\x00|\x08\x00\x16\x00|\x00\x08\x00\x16)(?:UI..|....)([\d.]+)", re.DOTALL)
_IMAGE_NAMES = re.compile(r"(\.dcm|\.ima|\.img|\.\d+|/[^./]+)$", re.IGNORECASE)  # of files that are to be slices


def is_dicom(path: Path) -> bool:
    """Whether a file starts as DICOM does; one that cannot be read does not."""
    try:
        return _is_start(_start(path))
    except OSError:
        return False


def what_it_is(path: Path) -> str | None:
    """What a file beside a series is in words; None: a slice, or what should be one.

    Raises:
        ValueError: it has the name of a slice but is no DICOM file, or cannot be read.
    """
    try:
        start = _start(path)
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror}); copy it again.") from None
    if not _is_start(start):
        if _IMAGE_NAMES.search(str(path)):
            raise ValueError(f"{path} is no DICOM file; download it again, or take it out of the folder.")
        return "no DICOM file"
    found = _CLASS.search(start)
    of_class = found[1].decode() if found else ""
    return next((what for uid, what in _NOT_SCANS.items() if f"{of_class}.".startswith(f"{uid}.")), None)


def why_unreadable(path: Path) -> str:
    """GDCM says only that it cannot read a file; the syntax that its header names tells damage from compression."""
    content = path.read_bytes()
    if not any(tag in content for tag in _PIXELS):
        return f"{path} holds no pixels: it is cut short, or no image; download it again, or leave it out."
    found = _SYNTAX.search(content[:4096])
    syntax = found[1].decode() if found else "unknown"
    if syntax in _UNCOMPRESSED or not found:
        return f"{path} is cut short or damaged; download it again."
    return (
        f"{path} cannot be decoded (transfer syntax {syntax}): it is damaged, or compressed in a way that GDCM cannot "
        "read; download it again, or decompress it, for example with gdcmconv --raw or dcmdjpeg."
    )


def _start(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(4096)


def _is_start(start: bytes) -> bool:
    """With its mark, or without one and the first tag in group 2 or 8, of either byte order."""
    return start[128:132] == b"DICM" or bool(re.match(rb"[\x02\x08]\x00.\x00|\x00[\x02\x08]\x00.", start, re.DOTALL))
