"""Ground truth of queries, read after the mask is made."""

from pathlib import Path

import SimpleITK as sitk

from Stage2.io.grid import on_grid_of
from Stage2.io.names import label_name_of
from Stage2.io.scans import ScanFile


def find_truth(path: Path, query: ScanFile) -> Path:
    """The ground truth of a query: the file given, or, in a folder, the one of the query's name.

    In a folder it may also be called label_<id> where the query is image_<id>.

    Raises:
        FileNotFoundError: there is none.
    """
    if not path.is_dir():
        return path
    stems = [query.name, label_name_of(query.name)]
    candidates = [path / f"{stem}{suffix}" for stem in dict.fromkeys(stems) for suffix in (".nii.gz", ".nii")]
    for candidate in candidates:
        if candidate.is_file() and candidate.resolve() != query.path.resolve():
            return candidate
    raise FileNotFoundError(f"{path} holds no ground truth of {query.name}; expected {candidates[-2].name}.")


def read_truth(path: Path, scan: sitk.Image, query: ScanFile) -> sitk.Image:
    """A ground truth on the grid of its scan.

    Raises:
        FileNotFoundError, ValueError: it is missing, damaged, or on another grid.
    """
    return on_grid_of(ScanFile(path).read(), scan, path, query.path)
