"""Writes a segmenter as ONNX files for programs without this code; they appear only after they were found equal."""

import json
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import torch
from torch import nn
from torch.export import Dim

from Stage2.datasets.volumes import SLICE_SIZE, Statistics
from Stage2.export.comparison import AnnotatedSlices, Comparison, compare
from Stage2.models.encoders import FEATURE_CHANNELS, OUTPUT_STRIDE
from Stage2.models.few_shot import FewShotSegmenter
from Stage2.models.portable import PortableHead

ENCODER_FILE, HEAD_FILE, DESCRIPTION_FILE = "encoder.onnx", "head.onnx", "model.json"
OPSET = 18  # of ONNX 1.13 (2022), the oldest that torch exports to
_GRID = SLICE_SIZE // OUTPUT_STRIDE
# Names and sizes of all inputs and outputs, float32; S shots, B query slices.
GRAPHS = {
    ENCODER_FILE: {
        "inputs": {"images": ["B", 3, SLICE_SIZE, SLICE_SIZE]},
        "outputs": {"features": ["B", FEATURE_CHANNELS, _GRID, _GRID]},
    },
    HEAD_FILE: {
        "inputs": {
            "support_features": ["S", FEATURE_CHANNELS, _GRID, _GRID],
            "support_mask": ["S", SLICE_SIZE, SLICE_SIZE],
            "query_features": ["B", FEATURE_CHANNELS, _GRID, _GRID],
        },
        "outputs": {"logits": ["B", 2, SLICE_SIZE, SLICE_SIZE]},
    },
}


def export_segmenter(
    model: FewShotSegmenter, window: int, folder: Path, slices: AnnotatedSlices, *,
    snapshot: str | None = None, statistics: Statistics | None = None,
) -> Comparison:  # fmt: skip
    """Write `encoder.onnx`, `head.onnx` and `model.json` after comparing both with the segmenter.

    Args:
        model: the segmenter in float32, on the CPU; put into evaluation mode.
        window: side of a pooling cell in feature pixels (`val_wsize`).
        folder: where the files go; made if absent, and files of an earlier export in it are replaced.
        slices: what the comparison is made on.
        snapshot: name of the weights, for the description.
        statistics: mean and deviation that normalise every image (CT); None: those of each volume (MR).

    Raises:
        ValueError: the files give something else than the segmenter; nothing is written then.
        OSError: the files cannot be written.
    """
    model.eval()
    head = model.head.portable(window)
    if head is None:
        raise ValueError(
            f"clsname={model.head_name} has no graph for ONNX and cannot be exported; expected a head with one: write "
            "its portable(), or export another snapshot."
        )
    with appearing(folder) as written:
        write_graph(model.encoder, written / ENCODER_FILE)
        write_graph(head, written / HEAD_FILE)
        comparison = compare(model, window, written / ENCODER_FILE, written / HEAD_FILE, slices)
        described = describe(model, head, window, snapshot, statistics, comparison)
        (written / DESCRIPTION_FILE).write_text(json.dumps(described, indent=2, allow_nan=False) + "\n")
    return comparison


@contextmanager
def appearing(folder: Path) -> Iterator[Path]:
    """A scratch folder for files that move to `folder` together when the block ends without an error.

    Raises:
        ValueError: a file has the folder's name.
        OSError: the files cannot be written.
    """
    folder = folder.resolve()
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"found a file at {folder}, expected the name of a folder to write to.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as scratch:
        yield Path(scratch)
        folder.mkdir(exist_ok=True)
        for path in sorted(Path(scratch).iterdir()):
            path.replace(folder / path.name)


def write_graph(module: nn.Module, path: Path, graph: Mapping[str, Mapping[str, list]] | None = None) -> None:
    """Write a module as one ONNX file with its weights.

    Args:
        module: to write.
        path: of the file.
        graph: names and sizes of inputs and outputs; None: what `GRAPHS` has for the file's name.
    """
    graph = graph or GRAPHS[path.name]
    inputs, outputs = graph["inputs"], graph["outputs"]
    dimensions = {name: Dim(name) for shape in inputs.values() for name in shape if isinstance(name, str)}
    lengths = {name: 2 + place for place, name in enumerate(dimensions)}  # 1 would be taken for a constant
    examples = tuple(torch.zeros([lengths.get(side, side) for side in shape]) for shape in inputs.values())
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="# The axis name")  # two inputs of the head share S, as they must
        torch.onnx.export(
            module.eval(), examples, path, input_names=list(inputs), output_names=list(outputs),
            dynamic_shapes=[{0: dimensions[shape[0]]} for shape in inputs.values()],
            opset_version=OPSET, external_data=False, dynamo=True, verbose=False,
        )  # fmt: skip


def describe(
    model: FewShotSegmenter, head: PortableHead, window: int, snapshot: str | None, statistics: Statistics | None,
    comparison: Comparison,
) -> dict:  # fmt: skip
    """Content of `model.json`: what a program has to know that runs the two files."""
    return {
        "encoder": model.encoder.name, "prototypes": model.head_name, "snapshot": snapshot, "files": GRAPHS,
        "type": "float32", "slice_size": SLICE_SIZE, "channels": "one grey slice, three times",
        "normalisation": normalisation_of(statistics), "pooling_window": window,
        "classes": ["background", "foreground"], "support_without_background": head.without_background,
        "checked": asdict(comparison), "opset": OPSET,
        "versions": versions(),
    }  # fmt: skip


def normalisation_of(statistics: Statistics | None) -> dict:
    """Which mean and deviation normalise an image, in words and numbers; None: those of each volume."""
    if statistics is None:
        return {"of": "each volume: its own mean and standard deviation over all voxels"}
    return {"of": "all volumes", "mean": statistics.mean, "std": statistics.std}


def versions() -> dict[str, str]:
    """Of the packages that write and run the files."""
    return {name: version(name) for name in ("torch", "onnx", "onnxscript", "onnxruntime")}
