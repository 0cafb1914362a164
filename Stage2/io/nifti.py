"""NIfTI files: the one rule for where their voxels lie, and voxels that are read whole or refused.

ITK reads a truncated .nii.gz, and voxels that are not finite, as zeros without an error, does not know NIfTI-2 and
takes absent codes for other axes than nibabel. So headers are nibabel's, and voxels come from a stream checked to its
end.
"""

import gzip
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import BinaryIO

import nibabel
import numpy as np
from nibabel.spatialimages import HeaderDataError
from nibabel.volumeutils import apply_read_scaling

from Stage2.io.grid import Grid, check_same_grid, distance_of, times
from Stage2.io.guards import expect_few, expect_fits, one_line
from Stage2.io.names import SUFFIX, SUPERPIXELS, SUPERVOXELS

NIFTI_SUFFIXES = (SUFFIX, ".nii")
_MM = {1: 1000.0, 3: 0.001}  # of the codes of units for m and micrometre
_SPACE_UNITS = 0b111  # the bits of xyzt_units that tell the unit of places
_MAX_REST = 1 << 24  # bytes behind the voxels of a compressed file
_PIECE = 1 << 22  # voxels that are checked at a time
_START = nibabel.Nifti2Header.sizeof_hdr  # the longer one of both headers

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class VolumeHeader:
    """What a file says of its volume.

    Attributes:
        size: (Z, H, W).
        note: its description.
        raw: as stored, with nothing mended but an absent sign of the third axis, which means +1.
    """

    path: Path
    size: tuple[int, int, int]
    note: str
    raw: nibabel.Nifti1Header

    @property
    def grid(self) -> Grid:
        """Where the voxels lie: by the sform where its code is set, else by the qform, else by the voxels' sides alone.

        A header without codes, one that contradicts itself, and sides that are not positive beside an sform are told
        of by a warning.

        Raises:
            ValueError: no sides of voxels, or no places.
        """
        path, header = self.path, self.raw
        sides = header["pixdim"][1:4].astype(float)
        has_sides = bool(np.isfinite(sides).all() and (sides > 0).all())
        shown = " x ".join(f"{side:g}" for side in sides)
        if not has_sides and header["sform_code"] <= 0:
            raise ValueError(f"{path} has voxels of {shown} mm (pixdim); expected more than 0, correct its header.")
        qform = None
        if header["qform_code"] > 0 and has_sides:
            try:
                qform = header.get_qform()
            except (HeaderDataError, ValueError) as error:
                if header["sform_code"] <= 0:
                    raise ValueError(f"{path} has no valid qform ({error}); correct its header.") from None
        if header["sform_code"] > 0:
            affine = header.get_sform().astype(float)
            taken = Grid(self.size, affine)
            if not has_sides or not np.allclose(taken.spacing[::-1], sides, rtol=0.01):
                _warn(f"{path}: voxels of {shown} mm (pixdim) against {times(taken.spacing[::-1])} mm of its sform; "
                      "the sform is taken.")
            elif qform is not None:
                distance = distance_of(taken, Grid(self.size, qform))
                if distance > min(taken.spacing):
                    _warn(f"{path}: sform and qform are up to {distance:.4g} mm apart; the sform is taken.")
        elif qform is not None:
            affine = qform
        else:
            affine = header.get_base_affine()
            _warn(f"{path} does not say where its axes run to (codes of sform and qform are 0); columns to the left, "
                  "rows to the front and slices to the head (LAS) are assumed.")
        if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-12:
            raise ValueError(f"{path} has an affine without places or extent; correct its header (sform, qform).")
        return Grid(self.size, np.diag([self.unit, self.unit, self.unit, 1.0]) @ affine)

    @property
    def unit(self) -> float:
        """What the header counts places in, mm; one without a unit, or with an unknown one, is taken for mm."""
        return _MM.get(int(self.raw["xyzt_units"]) & _SPACE_UNITS, 1.0)

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distance of neighbouring voxels along Z, H, W, mm."""
        found = np.array(self.grid.spacing)
        stored = self.raw["pixdim"][3:0:-1].astype(float) * self.unit
        # What is stored differs by rounding only, which the published sizes after resampling depend on.
        return tuple((stored if np.allclose(stored, found, rtol=1e-4, atol=0) else found).tolist())


def read_header(path: Path) -> VolumeHeader:
    """Header of a volume, without reading its voxels.

    Raises:
        FileNotFoundError, ValueError: there is no such file, or it is not a 3D volume of one value per voxel.
    """
    with _opened(path) as stream:
        return _parse(path, stream.read(_START))


def check_label_file(path: Path, image_path: Path) -> None:
    """Refuse a label file that lies on another grid than its image; headers only are read.

    Raises:
        FileNotFoundError, ValueError: as `read_header` and `check_same_grid`.
    """
    check_same_grid(path, read_header(path).grid, image_path, read_header(image_path).grid)


def read_voxels(path: Path) -> np.ndarray:
    """All voxels of a volume, (Z, H, W), as stored.

    Raises:
        FileNotFoundError, ValueError: as `read_header`; also a truncated or damaged file, values that are not finite,
            or more than memory holds.
    """
    with _opened(path) as stream:
        start = stream.read(_START)
        header = _parse(path, start)
        dtype = header.raw.get_data_dtype()
        offset = max(int(header.raw["vox_offset"]), header.raw.single_vox_offset)
        expect_fits(path, header.size, max(dtype.itemsize, 4))
        end = offset + int(np.prod(header.size)) * dtype.itemsize
        content = start + stream.read(max(0, end - len(start)))
        if len(content) < end:
            raise ValueError(f"{path} is truncated or damaged ({len(content)} of {end} bytes); copy it again.")
        if isinstance(stream, gzip.GzipFile) and len(stream.read(_MAX_REST)) == _MAX_REST:  # its end has the checksum
            raise ValueError(f"{path} holds more than the {end} bytes of its volume; copy or export it again.")
        stored = np.frombuffer(content, dtype, int(np.prod(header.size)), offset).reshape(header.size)
        voxels = apply_read_scaling(stored, *header.raw.get_slope_inter())
        if voxels.dtype.itemsize > 8:
            voxels = voxels.astype(np.float64)
    expect_finite(path, voxels)
    return voxels.astype(voxels.dtype.newbyteorder("="), copy=False)


def check_voxels(path: Path) -> VolumeHeader:
    """The header of a volume whose voxels are all there and finite; they are read piece by piece, and never all held.

    Raises:
        FileNotFoundError, ValueError: as `read_voxels`, but for memory.
    """
    with _opened(path) as stream:
        start = stream.read(_START)
        header = _parse(path, start)
        header.grid  # noqa: B018, raises what is wrong with it
        header.raw.get_slope_inter()
        dtype, count = header.raw.get_data_dtype(), int(np.prod(header.size))
        expect_few(path, header.size)
        offset = max(int(header.raw["vox_offset"]), header.raw.single_vox_offset)
        stream.seek(offset)
        for first in range(0, count, _PIECE):
            size = min(_PIECE, count - first) * dtype.itemsize
            content = stream.read(size)
            if len(content) < size:
                raise ValueError(f"{path} is truncated or damaged; copy it again.")
            expect_finite(path, np.frombuffer(content, dtype))
        if isinstance(stream, gzip.GzipFile) and len(stream.read(_MAX_REST)) == _MAX_REST:
            raise ValueError(f"{path} holds more than its volume; copy or export it again.")
    return header


def expect_finite(path: Path, voxels: np.ndarray) -> None:
    """Refuse values that are not finite.

    Raises:
        ValueError: there are some.
    """
    not_finite = 0 if voxels.dtype.kind in "iu" else np.count_nonzero(~np.isfinite(voxels))
    if not_finite:
        raise ValueError(f"{path} has {not_finite} voxel(s) that are not finite; replace them by numbers.")


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """The bytes of a file, unpacked where they are packed, whatever its name says."""
    if not path.is_file():
        remedy = "."
        for start, what in ((SUPERPIXELS, "superpixels"), (SUPERVOXELS, "supervoxels")):
            if path.name.startswith(start):
                remedy = f"; make the {what} with: python tools/prepare_data.py {what} {path.parent}"
        raise FileNotFoundError(f"{path} is missing{remedy}")
    with one_line(path), path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        yield gzip.GzipFile(fileobj=file) if packed else file


def _parse(path: Path, start: bytes) -> VolumeHeader:
    lengths = (int.from_bytes(start[:4], "little"), int.from_bytes(start[:4], "big"))
    kind = nibabel.Nifti2Header if _START in lengths else nibabel.Nifti1Header
    magic = start[4:7] if kind is nibabel.Nifti2Header else start[344:347]
    if len(start) < kind.sizeof_hdr or magic[:2] != b"n+":
        what = "holds the header of a pair of files" if magic[:2] == b"ni" else "is no NIfTI file, or damaged"
        raise ValueError(f"{path} {what}; expected .nii.gz or .nii: convert it, or copy or download it again.")
    header = kind(start[: kind.sizeof_hdr], check=False)
    shape = header.get_data_shape()
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    dtype = header.get_data_dtype()
    if len(shape) != 3 or min(shape) < 1 or dtype.kind not in "biuf":
        remedy = "give one volume of it (fslroi, nibabel's four_to_three)" if len(shape) > 3 else "convert it"
        values = "colour" if dtype.fields is not None else dtype
        raise ValueError(
            f"{path} has {len(shape)} dimensions ({times(shape)}) of {values} voxels; expected a 3D volume with one "
            f"value per voxel, a real number: {remedy}."
        )
    header.set_data_shape(shape)
    header["pixdim"][0] = -1 if header["pixdim"][0] < 0 else 1
    return VolumeHeader(path, shape[::-1], header["descrip"].item().decode(errors="replace"), header)


@cache
def _warn(text: str) -> None:
    """Once in a process: a header is read more often than that."""
    logger.warning(text)
