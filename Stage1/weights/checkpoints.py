"""Reads and writes weights for both stages: no code is run, damage is noticed, what is wrong fits one sentence."""

import pickle
import pickletools
import re
import sys
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from Stage1.files import whole_file

ZIP, LFS_POINTER = b"PK\x03\x04", b"version https://git-lfs"
WEB_PAGE = re.compile(rb"\s*<(!doctype|html|\?xml|head)", re.IGNORECASE)
NOT_ALLOWED = re.compile(r"GLOBAL (\S+)")
HISTORY = "mmengine.logging.history_buffer"  # whose class MMEngine's checkpoints hold, beside weights
STATISTICS = ("min", "max", "current", "mean")


class HistoryBuffer:
    """Stands for MMEngine's class of this name where MMEngine is not imported: holds what a file says."""


def read_checkpoint(path: str | Path) -> dict:
    """Content of a file of weights, on the CPU: .pth (of torch.save, any age) or .safetensors, told by the content.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is no file of weights, damaged (by its checksums, which .pth files have since torch 1.6), has
            numbers that are not finite, or reading it would run code.
    """
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"found a folder at {path}, expected a file of weights; give the .pth file in it")
    if not path.is_file():
        raise FileNotFoundError(f"found no file {path}, expected a checkpoint; give the path of an existing .pth file")
    try:
        with path.open("rb") as file:
            start = file.read(512)
    except OSError as error:
        raise ValueError(f"{path} could not be read ({error.strerror}); check its permissions and its disk") from error
    foreign = describe_foreign(start)
    if foreign:
        raise ValueError(f"found {foreign[0]} at {path}, expected a file of weights (.pth, .safetensors); {foreign[1]}")
    content = _load_safetensors(path) if start[8:9] == b"{" else _load_pickled(path, start)
    if not isinstance(content, dict):
        raise ValueError(
            f"found a {type(content).__name__} in {path}, expected a dictionary of weights; give a checkpoint, a "
            "snapshot or a backbone file"
        )
    for name, tensor in _tensors_in(content):
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise ValueError(
                f"found numbers that are not finite in {name} of {path}, expected weights; the training that wrote it "
                "had diverged: take an earlier file"
            )
    return content


def write_checkpoint(content: dict, path: str | Path) -> None:
    """`torch.save` that leaves the whole file or what was there before; its folder is made where it is absent.

    Raises:
        OSError: it cannot be written, in one sentence.
    """
    with whole_file(path, durable=True) as temporary, temporary.open("wb") as file:
        try:
            torch.save(content, file)
        except RuntimeError as error:
            cause = error
            while cause is not None and not isinstance(cause, OSError):  # torch hides a failed write behind its own
                cause = cause.__context__
            raise cause or error from None


def describe_foreign(start: bytes) -> tuple[str, str] | None:
    """What a file is that is no file of weights, and the remedy, by its first bytes; None where it may be one."""
    again = "download or copy it again"
    if not start:
        return "an empty file", again
    if start.startswith(LFS_POINTER):
        return "a pointer of Git LFS in place of the file", "fetch the file itself with git lfs pull"
    if WEB_PAGE.match(start):
        return "a web page", f"the download got a page in place of the file: {again}"
    if all(byte >= 32 or byte in b"\t\n\r\f" for byte in start) and start.decode("utf-8", "ignore"):
        return "a text file", "give another file"
    return None


def _load_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except Exception as error:  # which ones, depends on the damaged bytes
        raise _unreadable(path, str(error)) from error


def _load_pickled(path: Path, start: bytes) -> object:
    try:
        if start.startswith(ZIP):
            with zipfile.ZipFile(path) as archive:
                damaged = archive.testzip()  # torch does not compare the checksums
            if damaged:
                raise zipfile.BadZipFile(f"the checksum of {damaged} in it is wrong")
        with path.open("rb") as file, torch.serialization.safe_globals(_allowed()), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about files that are refused, and of what they might be
            return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # which ones, depends on the damaged bytes
        code = code_in(path, str(error))
        if code:
            raise ValueError(
                f"found code in {path} ({code}): loading it would run it; expected weights only; ask its author for a "
                ".safetensors or weights-only file"
            ) from error
        reason = "not written by torch.save" if isinstance(error, pickle.UnpicklingError) else str(error)
        raise _unreadable(path, reason or "it ends too early") from error


def _unreadable(path: Path, reason: str) -> ValueError:
    reason = reason.strip().split("\n")[0].split(". ")[0][:120]
    return ValueError(
        f"found a file that is not a readable checkpoint ({reason}): {path}; it is cut off, damaged or no file of "
        "weights; copy or download it again"
    )


def _allowed() -> list:
    """What a file may hold beside tensors and plain values: numpy's arrays, and MMEngine's history of losses."""
    reconstruct, scalar = np.empty(0).__reduce__()[0], np.float64(0).__reduce__()[0]
    dtypes = [type(np.dtype(kind)) for kind in ("float32", "float64", "int32", "int64", "uint32", "bool")]
    history = getattr(sys.modules.get(HISTORY), "HistoryBuffer", HistoryBuffer)

    def statistic(owner: type, name: str) -> Callable | None:
        # A pickled method of the buffer calls getattr, which is more than a file should be able to call.
        if owner is not history or name not in STATISTICS:
            raise pickle.UnpicklingError(f"GLOBAL builtins.getattr of {name}")
        return getattr(owner, name, None)

    old_numpy = [(reconstruct, "numpy.core.multiarray._reconstruct"), (scalar, "numpy.core.multiarray.scalar")]
    names = [(history, f"{HISTORY}.HistoryBuffer"), (statistic, "builtins.getattr"), *old_numpy]
    return [*names, reconstruct, scalar, np.ndarray, np.dtype, *dtypes]


def code_in(path: Path, message: str) -> str | None:
    """The class or function that a refused file wanted to call, by torch's message; None if the file is damaged."""
    named = NOT_ALLOWED.search(message)
    if named:
        return named[1]
    if "TorchScript" in message:
        return "a TorchScript program"
    # torch's restricted reader stops at the first byte of newer pickles, before it comes to any name.
    strings, found = [], None
    try:
        with path.open("rb") as file:
            for operation, argument, _ in pickletools.genops(file):
                if operation.name == "GLOBAL":
                    found = found or argument.replace(" ", ".")
                elif operation.name == "STACK_GLOBAL":
                    found = found or ".".join(strings[-2:])
                elif isinstance(argument, str):
                    strings.append(argument)
    except Exception:  # genops raises whatever bytes that are no pickle make it raise
        return None
    return found


def _tensors_in(content: Mapping, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    """Every tensor of nested dictionaries, by its dotted name."""
    for key, value in content.items():
        if isinstance(value, Tensor):
            yield f"{prefix}{key}", value
        elif isinstance(value, Mapping):
            yield from _tensors_in(value, f"{prefix}{key}.")
