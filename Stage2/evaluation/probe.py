"""Probes of frozen dense features: they learn cells of training scans and are scored on cells of held-out scans."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from Stage2.datasets.episodes import three_channels
from Stage2.evaluation.cells import ScanCells
from Stage2.evaluation.metrics import ScanCounts, mean_of_defined, overlap_counts
from Stage2.evaluation.probe_names import PROBES, STAGES
from Stage2.models.encoders import OUTPUT_STRIDE
from Stage2.models.resnets import DilatedResNet

SLICES_PER_BATCH = 8
ADAPTING_SLICES = 64  # 65,536 cells of every channel: more of them move the statistics no further
KNN_TEMPERATURE = 0.07  # as in the k-NN evaluation of instance discrimination (Wu et al., CVPR 2018)
QUERIES_PER_CHUNK = 1024  # bounds the similarities held at a time
# Of the linear probe. Of 1e-3 to 10 it gave untrained ResNet-18s the best balanced accuracy when ten training scans of
# a fold were fitted and the other five scored, so no held-out scan had a say.
WEIGHT_DECAY = 0.1
LBFGS_STEPS = 100


@dataclass(frozen=True)
class ProbeScore:
    """How well a probe recognises the classes, each a mean over the held-out scans that show the class.

    Attributes:
        dice: organ -> Dice of its cells.
        recall: class, background included -> share of its cells that are recognised.
    """

    dice: Mapping[str, float]
    recall: Mapping[str, float]

    @property
    def mean_dice(self) -> float:
        return mean_of_defined(self.dice.values())

    @property
    def balanced_accuracy(self) -> float:
        """Mean recall of all classes: 1 / number of classes by chance, however frequent each is."""
        return mean_of_defined(self.recall.values())


def has_batch_norm(network: nn.Module) -> bool:
    return any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in network.modules())


def network_up_to(backbone: nn.Module, stage: str) -> nn.Sequential:
    """The backbone up to a stage, (B, 3, H, W) -> (B, C, H / 8, W / 8), with the same modules.

    Of other backbones than ResNets it is the last stage, upsampled as Stage 2's encoders do it.
    """
    if not isinstance(backbone, DilatedResNet):
        finer = nn.Upsample(scale_factor=backbone.stride // OUTPUT_STRIDE, mode="bilinear")
        return nn.Sequential(backbone, finer)
    return nn.Sequential(*(getattr(backbone, part) for part in ("conv1", "bn1", "relu", "maxpool", *STAGES[stage])))


def adapt_batch_norm(network: nn.Sequential, scans: Sequence[ScanCells], seed: int) -> None:
    """Re-estimate every running mean and variance on a random sample of slices; leaves the mode as it was."""
    places = [(scan, z) for scan in scans for z in range(len(scan.images))]
    order = np.random.default_rng(seed).permutation(len(places))[:ADAPTING_SLICES]
    batches = np.array_split(order, -(-len(order) // SLICES_PER_BATCH))
    images = (np.stack([places[place][0].images[places[place][1]] for place in batch]) for batch in batches)
    # A plain mean over the batches, which are of (nearly) one size for it.
    update_bn(map(three_channels, images), network, device=device_of(network))


def device_of(network: nn.Module) -> torch.device:
    return next(network.parameters()).device


@torch.no_grad()
def dense_features(network: nn.Sequential, images: np.ndarray, cells: np.ndarray) -> Iterator[Tensor]:
    """Features of the wanted cells of some slices at a time, in the cells' order.

    Args:
        network: in eval mode.
        images: (Z, H, W) float32.
        cells: (Z, h, w) bool, the wanted cells.

    Yields:
        (n, C) float32 on the network's device.
    """
    wanted = np.flatnonzero(cells.any(axis=(1, 2)))
    for start in range(0, len(wanted), SLICES_PER_BATCH):
        batch = wanted[start : start + SLICES_PER_BATCH]
        features = network(three_channels(images[batch]).to(device_of(network))).permute(0, 2, 3, 1)  # B, h, w, C
        yield features[torch.from_numpy(cells[batch]).to(features.device)]


class NeighbourProbe:
    """Cosine k-NN: each of the nearest training cells votes for its class with exp(similarity / temperature).

    Args:
        features: of the training cells, (M, C).
        labels: their classes, (M,) int64.
        n_classes: K.
        neighbours: k, at most M.

    Source: Wu et al., CVPR 2018, section 3.4.
    """

    def __init__(self, features: Tensor, labels: Tensor, n_classes: int, neighbours: int):
        if not 1 <= neighbours <= len(features):
            raise ValueError(
                f"found {len(features)} training cells for {neighbours} neighbours, expected 1 to {len(features)} "
                "neighbours; choose fewer."
            )
        self.keys, self.labels = F.normalize(features, dim=1), labels
        self.n_classes, self.neighbours = n_classes, neighbours

    def predict(self, features: Tensor) -> Tensor:
        """Classes of cells: (n, C) -> (n,) int64."""
        return torch.cat([self._vote(chunk) for chunk in features.split(QUERIES_PER_CHUNK)])

    def _vote(self, features: Tensor) -> Tensor:
        similarity, nearest = (F.normalize(features, dim=1) @ self.keys.T).topk(self.neighbours, dim=1)  # (n, k)
        votes = features.new_zeros(len(features), self.n_classes)
        # Relative to the nearest one, which changes no order and keeps exp in range.
        weights = ((similarity - similarity[:, :1]) / KNN_TEMPERATURE).exp()
        return votes.scatter_add_(1, self.labels[nearest], weights).argmax(dim=1)


class LinearProbe:
    """Multinomial logistic regression on standardised features, fitted by L-BFGS from zero weights.

    The loss is mean cross-entropy + WEIGHT_DECAY / 2 * |weight|^2; mean and deviation are the training cells'.

    Args:
        features: of the training cells, (M, C).
        labels: their classes, (M,) int64.
        n_classes: K.
    """

    def __init__(self, features: Tensor, labels: Tensor, n_classes: int):
        deviation, self.mean = torch.std_mean(features, dim=0, correction=0)
        self.deviation = torch.where(deviation > 0, deviation, 1.0)  # a channel that never fires stays 0
        self.weight = torch.zeros(n_classes, features.shape[1], device=features.device, requires_grad=True)
        self.bias = torch.zeros(n_classes, device=features.device, requires_grad=True)
        standardised = self._standardise(features)
        optimiser = torch.optim.LBFGS([self.weight, self.bias], max_iter=LBFGS_STEPS, line_search_fn="strong_wolfe")

        def closure() -> Tensor:
            optimiser.zero_grad()
            logits = F.linear(standardised, self.weight, self.bias)
            loss = F.cross_entropy(logits, labels) + WEIGHT_DECAY / 2 * self.weight.square().sum()
            loss.backward()
            return loss

        optimiser.step(closure)
        self.weight, self.bias = self.weight.detach(), self.bias.detach()

    def predict(self, features: Tensor) -> Tensor:
        """Classes of cells: (n, C) -> (n,) int64."""
        return F.linear(self._standardise(features), self.weight, self.bias).argmax(dim=1)

    def _standardise(self, features: Tensor) -> Tensor:
        return (features - self.mean) / self.deviation


def score_predictions(
    predictions: Sequence[np.ndarray], targets: Sequence[np.ndarray], class_names: Sequence[str]
) -> ProbeScore:
    """Scores of the cells of the held-out scans.

    Args:
        predictions: for every scan, the classes of its scored cells, (n,).
        targets: the true ones.
        class_names: of class 0 (background), 1, ...
    """
    counts: dict[str, list[ScanCounts]] = {}
    for index, name in enumerate(class_names):
        of_scans = (overlap_counts(p == index, t == index) for p, t in zip(predictions, targets, strict=True))
        counts[name] = [own for own in of_scans if own.target]
    return ProbeScore(
        dice={name: mean_of_defined(own.dice for own in counts[name]) for name in class_names[1:]},
        recall={name: mean_of_defined(own.recall for own in counts[name]) for name in class_names},
    )


def probe_backbone(
    backbone: nn.Module, training: Sequence[ScanCells], chosen: Sequence[np.ndarray],
    held_out: Sequence[ScanCells], class_names: Sequence[str], *, probes: Sequence[str] = PROBES, neighbours: int = 20,
    batch_norm: str = "saved", stage: str = "C5", seed: int = 1234,
) -> dict[str, ProbeScore]:  # fmt: skip
    """Fit probes on the chosen cells of training scans and score them on the held-out scans.

    Args:
        backbone: whose features are judged; "adapted" changes its running statistics.
        training: the training scans.
        chosen: of `choose_training_cells`.
        held_out: the scans to score.
        class_names: of class 0 (background), 1, ...
        probes: of `PROBES`.
        neighbours: k of the k-NN probe.
        batch_norm: "saved": running statistics of the file (untrained: mean 0, variance 1); "adapted": re-estimated on
            training slices, as Stage 2's training does from its first step. Neither is fair to all: "saved" holds the
            statistics of other images against a pre-trained network, and "adapted" takes an untrained one, which
            passes brightness through, some of what its features tell. A gain is one over the better of both.
            "none": there is no batch norm.
        stage: "C5", which Stage 2 uses, or of a ResNet "C4".
        seed: of the slices for "adapted".

    Returns:
        Probe -> its score.
    """
    network = network_up_to(backbone.eval(), stage).eval()
    if batch_norm == "adapted":
        adapt_batch_norm(network, training, seed)
    pairs = list(zip(training, chosen, strict=True))
    features = torch.cat([part for scan, cells in pairs for part in dense_features(network, scan.images, cells)])
    labels = torch.from_numpy(np.concatenate([scan.labels[cells] for scan, cells in pairs])).to(features.device)
    fitted: dict[str, NeighbourProbe | LinearProbe] = {}
    if "knn" in probes:
        fitted["knn"] = NeighbourProbe(features, labels, len(class_names), neighbours)
    if "linear" in probes:
        fitted["linear"] = LinearProbe(features, labels, len(class_names))

    predictions: dict[str, list[np.ndarray]] = {name: [] for name in fitted}
    for scan in held_out:
        parts: dict[str, list[Tensor]] = {name: [] for name in fitted}
        for queries in dense_features(network, scan.images, scan.scored):
            for name, probe in fitted.items():
                parts[name].append(probe.predict(queries).cpu())
        for name, found in parts.items():
            predictions[name].append(torch.cat(found).numpy() if found else np.zeros(0, dtype=np.int64))
    targets = [scan.labels[scan.scored] for scan in held_out]
    return {name: score_predictions(found, targets, class_names) for name, found in predictions.items()}
