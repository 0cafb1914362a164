"""The network of a snapshot, and what its run folder says of how it was trained."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from Stage1.files import hash_file
from Stage2.datasets.catalog import VOLUME, DataSet, get_dataset
from Stage2.datasets.folds import DISJOINT, count_shots, split_fold
from Stage2.datasets.volumes import Statistics, fold_statistics, list_scans
from Stage2.models.build import segmenter_of_snapshot
from Stage2.models.few_shot import FewShotSegmenter
from Stage2.run_folders.layout import read_config, run_of

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Network:
    """A segmenter in evaluation mode.

    Attributes:
        model: the segmenter.
        identity: hash of its weights and of what else decides its features.
        config: settings of the run that trained it; empty where they are not known.
    """

    model: FewShotSegmenter
    identity: str
    config: Mapping

    @property
    def data_set(self) -> DataSet | None:
        """What it was trained on; None where that is not known."""
        if "dataset" not in self.config:
            return None
        try:
            return get_dataset(self.config["dataset"])
        except (OSError, ValueError):
            logger.warning("the data set of training, %s, is not here any more", self.config["dataset"])
            return None


def load_network(
    snapshot: Path,
    *,
    encoder_name: str | None = None,
    precision: str = "fp32",
    device: torch.device | str = "cpu",
) -> Network:
    """The network of a snapshot; the file tells its encoder and head.

    Args:
        snapshot: <step>.pth; a config.json in the folder above is read, as run folders have it.
        encoder_name: expected encoder; None: whichever it is.
        precision: of the encoder, "fp32", "bf16" or "fp16".
        device: where it runs.

    Raises:
        FileNotFoundError, ValueError: it is no snapshot, or of another encoder than expected.
    """
    config = read_config(run_of(snapshot))
    model = segmenter_of_snapshot(
        snapshot, encoder_name=encoder_name, run_config=config, precision=precision, device=device, channels_last=True
    )
    identity = f"{hash_file(snapshot)} {model.encoder.name} {precision} {torch.device(device).type}"
    return Network(model, identity, config)


def normalised_by_volume(network: Network) -> bool:
    """Whether each CT volume was normalised by its own voxels in a network's training."""
    return network.config.get("ct_statistics") == VOLUME


def training_statistics(network: Network) -> Statistics | None:
    """Mean and deviation that normalised the CT of a network's training; None where they cannot be known any more.

    They are those of the training volumes of its fold, which the run folder names and which must still be there.
    """
    data_set, folder = network.data_set, network.config.get("path", {}).get("data_dir")
    if data_set is None or data_set.modality != "CT" or folder is None or not Path(folder).is_dir():
        return None
    n_shots = count_shots(network.config["support_idx"])
    scheme = network.config.get("fold_scheme", DISJOINT)
    fold = split_fold(list_scans(Path(folder)), data_set, network.config["eval_fold"], n_shots, scheme)
    return fold_statistics(Path(folder), data_set.modality, fold.train)
