"""Files of adapted networks and of starting networks: weights with a description, data only (safetensors and JSON)."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from Stage1.files import whole_file
from Stage1.weights.backbones import describe_mismatch
from Stage1.weights.checkpoints import read_checkpoint
from Stage2.adaptation.network import AdaptedNetwork
from Stage2.adaptation.settings import SUFFIX

KEY, VERSION = "densemp", 1  # of the description in the file's header
ADAPTED, STARTING = "adapted network", "starting network"
SCALE = ".scale"  # of 8-bit weights, one for each output channel
ASSIGNMENT = "head.assignment"


def write_network(path: Path, kind: str, network: AdaptedNetwork, described: Mapping[str, Any], *, small: bool = False):
    """Write a network with its description, whole or not at all.

    Args:
        path: ends in .safetensors.
        kind: `ADAPTED` or `STARTING`.
        network: to write.
        described: plain values.
        small: convolutions in 8 bits, with a scale for each output channel.

    Raises:
        OSError: it cannot be written.
    """
    tensors: dict[str, Tensor] = {}
    for key, value in network.state_dict().items():
        value = value.detach().cpu().contiguous()
        if small and value.ndim == 4 and value.is_floating_point():
            scale = value.abs().amax(dim=(1, 2, 3), keepdim=True).clamp(min=1e-12) / 127
            tensors[key], tensors[key + SCALE] = torch.round(value / scale).to(torch.int8), scale
        else:
            tensors[key] = value
    content = {"version": VERSION, "kind": kind, "encoder": network.encoder_name, **described}
    with whole_file(path, durable=True) as temporary:
        temporary.write_bytes(save(tensors, metadata={KEY: json.dumps(content)}))


def describe_file(path: Path) -> dict[str, Any] | None:
    """The description in a file; None where it is no file of this program.

    Raises:
        ValueError: it is one of another version, or its description is damaged.
    """
    if not path.is_file() or not path.name.endswith(SUFFIX):
        return None
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(KEY)
    except (SafetensorError, OSError):
        return None
    if text is None:
        return None
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict) or content.get("kind") not in (ADAPTED, STARTING):
        raise ValueError(f"{path} has a damaged description; make it anew, or copy it again.")
    if content.get("version") != VERSION:
        raise ValueError(
            f"{path} is of version {content.get('version')} of its format, and this program reads {VERSION}; adapt "
            "anew, or use the program that wrote it."
        )
    return content


def names_adapted(path: Path) -> bool:
    """Whether a file holds an adapted network; raises as `describe_file`."""
    described = describe_file(path)
    return described is not None and described["kind"] == ADAPTED


def own_at(path: Path) -> dict[str, Any] | None:
    """The description of the adapted network that stands where one is to be written; None where nothing does.

    Raises:
        ValueError: the name is not one of such files, or as `describe_file`.
        FileExistsError: something else stands there.
    """
    if not path.name.endswith(SUFFIX):
        raise ValueError(f"{path} must be the name of a {SUFFIX} file.")
    if not os.path.lexists(path):
        return None
    described = describe_file(path)
    if described is None or described["kind"] != ADAPTED:
        raise FileExistsError(f"{path} was not written by this program and is not written over; choose another name.")
    return described


def choose_labels(labels: Sequence[int] | None, known: Sequence[int]) -> tuple[int, ...]:
    """Labels to segment, each once, out of those that a network knows; None: all of them.

    Raises:
        ValueError: there is none, or one that it does not know.
    """
    chosen = tuple(dict.fromkeys(known if labels is None else labels))
    missing = [label for label in chosen if label not in known]
    if missing or not chosen:
        found = f"label {missing[0]} was not adapted to" if missing else "no label was given"
        raise ValueError(f"{found}; the network knows {list(known)}: choose among those.")
    return chosen


def read_network(path: Path) -> tuple[AdaptedNetwork, dict[str, Any]]:
    """The network of a file in evaluation mode, and its description.

    Raises:
        FileNotFoundError, ValueError: the file is missing, damaged, or no file of this program.
    """
    tensors = read_checkpoint(path)  # names what is missing, foreign or damaged
    described = describe_file(path)
    if described is None:
        raise ValueError(f"{path} is no network that was adapted or made to start from; give a file of tools/adapt.py.")
    assignment = tensors.get(ASSIGNMENT)
    encoder = described.get("encoder")
    if not isinstance(encoder, str) or assignment is None or assignment.ndim != 1 or assignment.dtype != torch.int64:
        raise ValueError(f"{path} lacks its encoder or its head; make it anew, or copy it again.")
    parts = len(assignment)
    if not parts or not all(0 <= own < parts for own in assignment.tolist()):
        raise ValueError(f"{path} has a damaged head; make it anew, or copy it again.")
    network = AdaptedNetwork(encoder, assignment)
    own = network.state_dict()
    found = {key: _whole_numbers_scaled(value, tensors.get(key + SCALE)) for key, value in tensors.items()}
    found = {key: value for key, value in found.items() if not key.endswith(SCALE)}
    mismatch = describe_mismatch(own, found)
    kinds = [key for key, value in own.items() if not mismatch and value.dtype != found[key].dtype]
    mismatch = f"{kinds[0]} is of {found[kinds[0]].dtype}" if kinds else mismatch
    if mismatch:
        raise ValueError(f"{path} does not fit its encoder, {encoder}: {mismatch}; make it anew, or copy it again.")
    network.load_state_dict(found)
    return network.eval(), described


def _whole_numbers_scaled(value: Tensor, scale: Tensor | None) -> Tensor:
    """8-bit weights as they were, about; others, and those whose scale does not fit, as they are."""
    fits = scale is not None and value.ndim == 4 and tuple(scale.shape) == (len(value), 1, 1, 1)
    return value.float() * scale if fits else value
