"""Files that stand in the place of weights, and what every reader of weights says of them."""

import pickle
import zipfile
from pathlib import Path

import torch
from safetensors.torch import save_file

LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:" + 64 * "4" + "\nsize 178000000\n"


def write_bad_file(kind: str, folder: Path, weights: dict) -> Path:
    """A file of this kind (a key of `COMPLAINTS`) made of a state dict."""
    path = folder / ("bad.safetensors" if kind.startswith("safetensors") else "bad.pth")
    first = next(key for key, value in weights.items() if value.is_floating_point())
    torch.save(weights, path)
    whole = path.read_bytes()
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "web page":
        path.write_text("<!DOCTYPE html>\n<html><body>404</body></html>")
    elif kind == "lfs pointer":
        path.write_text(LFS)
    elif kind == "text":
        path.write_text("learning rate 0.001\n" * 9)
    elif kind == "folder":
        path.unlink()
        path.mkdir()
    elif kind == "cut off":
        path.write_bytes(whole[: len(whole) // 2])
    elif kind == "flipped byte":
        largest = max(zipfile.ZipFile(path).infolist(), key=lambda record: record.file_size)
        place = largest.header_offset + largest.file_size // 2
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 255]) + whole[place + 1 :])
    elif kind == "noise":
        path.write_bytes(bytes(range(256)) * 9)
    elif kind == "cut pickle":
        path.write_bytes(pickle.dumps([1, 2], protocol=2)[:-2])
    elif kind == "code":
        path.write_bytes(pickle.dumps({"x": print}, protocol=2))
    elif kind == "list":
        torch.save([1, 2], path)
    elif kind == "safetensors, cut off":
        save_file({key: value.clone() for key, value in weights.items()}, path)
        path.write_bytes(path.read_bytes()[:-9])
    elif kind == "safetensors, header":
        path.write_bytes(b"\x09" + b"\0" * 7 + b"{nothing}")
    elif kind == "no weights":
        torch.save({"epoch": 3}, path)
    elif kind == "no dictionary":
        torch.save({"state_dict": 3}, path)
    elif kind == "no tensor":
        torch.save({**weights, first: "text"}, path)
    elif kind == "not finite":
        torch.save({**weights, first: torch.full_like(weights[first], torch.nan)}, path)
    return path


# What a refusal says of every kind; the last three are refused by who takes the weights, in his words.
COMPLAINTS = {
    "empty": "found an empty file at",
    "web page": "found a web page at",
    "lfs pointer": "found a pointer of Git LFS",
    "text": "found a text file at",
    "folder": "found a folder at",
    "cut off": "not a readable checkpoint",
    "flipped byte": "not a readable checkpoint (the checksum of bad/data/",
    "noise": "not a readable checkpoint",
    "cut pickle": "not a readable checkpoint",
    "code": "found code in",
    "list": "found a list in",
    "safetensors, cut off": "not a readable checkpoint",
    "safetensors, header": "not a readable checkpoint",
    "not finite": "found numbers that are not finite in",
    "no weights": "",
    "no dictionary": "",
    "no tensor": "",
}
BY_THE_READER = [kind for kind, complaint in COMPLAINTS.items() if complaint]
