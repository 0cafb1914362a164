"""Headers of NRRD and MetaImage files, which are text: where voxels lie, and what ITK passes over without a word."""

import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path

MAX_BYTES = 1 << 16  # of a header
_PIECE = 1 << 16  # bytes of packed voxels that are unpacked at a time; they become up to 1,000 times as many
_MM = {"", "mm", "millimeter", "millimeters", "millimetre", "millimetres", "?", "???"}  # or nothing said
_VOXEL_FILE = ("data file", "datafile", "elementdatafile")
_SIDES = {"space directions", "spacings", "elementspacing", "elementsize"}
_PLACES = (
    *("space directions", "spacings", "space origin"),
    *("elementspacing", "elementsize", "offset", "position", "origin", "transformmatrix", "rotation", "orientation"),
)
_WORD = re.compile("[a-df-z]", re.IGNORECASE)  # nan, inf, none: anything but the e of a number
# Key -> what its number must be, as it is not applied.
_SCALES = {"elementtointensityfunctionslope": 1.0, "elementtointensityfunctionoffset": 0.0}


@dataclass(frozen=True)
class TextHeader:
    """What a file says of its volume.

    Attributes:
        path: of the file.
        fields: key in small letters -> value.
        end: bytes before the voxels, where these are in the file itself.
    """

    path: Path
    fields: Mapping[str, str]
    end: int

    @property
    def has_sides(self) -> bool:
        """Whether it says how large voxels are."""
        return not self.fields.keys().isdisjoint(_SIDES)

    def voxel_file(self) -> Path:
        """The file with the voxels: itself, or one beside it.

        Raises:
            ValueError: several files, one elsewhere, or one that is missing.
        """
        path, name = self.path, next((self.fields[key] for key in _VOXEL_FILE if key in self.fields), "LOCAL")
        if name.upper() == "LOCAL":
            return path
        if name.startswith("LIST") or "%" in name:
            raise ValueError(f"{path} spreads its voxels over several files; expected one: convert it to .nii.gz.")
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise ValueError(f"{path} takes its voxels from {name}; expected a file beside it: correct the header.")
        if not (path.parent / name).is_file():
            raise ValueError(f"{path} takes its voxels from {name}, which is missing; copy it beside the header.")
        return path.parent / name

    def expect_plain(self) -> None:
        """Refuse what ITK would leave out: places that are not numbers of mm, values that are to be scaled.

        Raises:
            ValueError: there is one.
        """
        for key in _PLACES:
            value = self.fields.get(key, "")
            if _WORD.search(value):
                raise ValueError(f"{self.path} has {key} {value}; expected numbers: correct its header.")
        for key in ("space units", "units", "distanceunits"):
            units = re.findall(r'"([^"]*)"', self.fields.get(key, "")) or self.fields.get(key, "").split()
            other = next((unit for unit in units if unit.strip().lower() not in _MM), None)
            if other is not None:
                raise ValueError(f"{self.path} counts places in {other}; expected mm: correct its header.")
        for key, neutral in _SCALES.items():
            value = self.fields.get(key, str(neutral))
            if float(value) != neutral:
                raise ValueError(
                    f"{self.path} has {key} {value}, which is not applied; expected {neutral:g}: store scaled values."
                )

    def expect_sound(self, size: int) -> None:
        """Unpack the voxels of a compressed MetaImage file, in which ITK notices no damage.

        Args:
            size: bytes that the voxels must be.

        Raises:
            ValueError, zlib.error: they are damaged, or more or fewer bytes.
        """
        if not self.fields.get("compresseddata", "").lower().startswith(("t", "1")):
            return
        voxels = self.voxel_file()
        unpacker, found = zlib.decompressobj(wbits=47), 0  # of zlib or gzip, whichever its start says
        with voxels.open("rb") as file:
            file.seek(self.end if voxels == self.path else 0)
            for piece in iter(partial(file.read, _PIECE), b""):
                found += len(unpacker.decompress(piece))
                if unpacker.eof or found > size:
                    break
        if not unpacker.eof or found != size:
            raise ValueError(f"{self.path} is truncated or damaged; copy or download it again.")


def read_text_header(path: Path) -> TextHeader:
    """The header of a file.

    Raises:
        OSError: it cannot be read.
        ValueError: the header does not end.
    """
    with path.open("rb") as file:
        start = file.read(MAX_BYTES)
    is_nrrd, fields, end = start.startswith(b"NRRD"), {}, 0
    # As the libraries of both formats take lines and keys apart, so that none names voxels that are not seen here.
    lines = start.splitlines(keepends=True) if is_nrrd else BytesIO(start).readlines()
    separator = re.compile(r": " if is_nrrd else r"[=:]")
    for line in lines:
        end += len(line)
        key, *value = separator.split(line.decode(errors="surrogateescape").strip(), maxsplit=1)
        if is_nrrd and not key:
            break
        if value:
            fields.setdefault(key.strip().lower(), value[0].strip())
        if not is_nrrd and "elementdatafile" in fields:
            break
    else:
        if len(start) == MAX_BYTES:
            raise ValueError(f"{path} has no end of its header in {MAX_BYTES} bytes; convert it to .nii.gz.")
    return TextHeader(path, fields, end)
