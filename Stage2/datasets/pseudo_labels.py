"""The kinds of pseudo-labels: how their files are named, and which settings decide what is in them."""

from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from shlex import quote

from Stage2.datasets.catalog import SUPERPIXEL_SCALES, SUPERVOXEL_SCALES, DataSet
from Stage2.io.names import superpixel_kind, supervoxel_kind

OURS = "Felzenszwalb "  # start of the description in our files


class PseudoLabels(Enum):
    """Superpixels are segments of a slice, supervoxels of a volume; the value is the command that makes them."""

    SUPERPIXELS = "superpixels"
    SUPERVOXELS = "supervoxels"

    @property
    def scales(self) -> Mapping[str, Mapping[str, float]]:
        """Scale -> parameters of the segmentation."""
        return SUPERPIXEL_SCALES if self is PseudoLabels.SUPERPIXELS else SUPERVOXEL_SCALES

    def kind(self, scale: str) -> str:
        """The kind of volume that holds them."""
        return superpixel_kind(scale) if self is PseudoLabels.SUPERPIXELS else supervoxel_kind(scale)

    def note(self, scale: str, threshold: float) -> str:
        """Settings that decide them, as kept in a file's header.

        Args:
            scale: a key of `scales`.
            threshold: foreground threshold of the data set.
        """
        settings = " ".join(f"{name} {value:g}" for name, value in self.scales[scale].items())
        method = OURS if self is PseudoLabels.SUPERPIXELS else f"{OURS}3D "
        return f"{method}{settings}; foreground > {threshold:g}"

    def command(self, folder: Path, data_set: DataSet, scale: str) -> str:
        """The command that makes them in a processed folder."""
        name = quote(data_set.name if data_set.source is None else str(data_set.source))
        where = f"{quote(str(folder))} --dataset {name} --scale {scale}"
        return f"python tools/prepare_data.py {self.value} {where}"
