"""How MMEngine's runner keeps checkpoints: read by the project's reader, and written whole or not at all."""

from pathlib import Path

from mmengine.fileio import LocalBackend, register_backend
from mmengine.runner.checkpoint import CheckpointLoader

from Stage1.files import whole_file
from Stage1.weights.checkpoints import read_checkpoint


@register_backend("atomic_local")
class AtomicLocalBackend(LocalBackend):
    """MMEngine's storage on the local disk, except that a file appears only once it is complete."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Writes bytes to a file, creating its folder."""
        with whole_file(filepath, durable=True) as temporary:
            temporary.write_bytes(obj)


@CheckpointLoader.register_scheme(prefixes="", force=True)
def read_local(filename: str, map_location: object = None) -> dict:
    """Content of a checkpoint, on the CPU wherever it is wanted: the runner copies it into a model on its device."""
    return read_checkpoint(filename)
