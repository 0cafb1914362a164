"""What the tests of Ray share: several raylets on this machine, and work that ends its process."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]
CODE = os.pathsep.join((str(ROOT), str(ROOT / "tests")))
MEMORY = 80 * 2**20  # bytes of the object store of a raylet
TOY_ENTRY = """
import runpy
from stage2.toy_encoder import PLACE
from Stage2.models.registry import ENCODERS
ENCODERS["toy"] = PLACE
runpy.run_module("Stage2.{name}", run_name="__main__")
"""


class Raylets:
    """A Ray cluster of a head without cores and two machines with one core each, and a connection to it."""

    def __init__(self, ray: ModuleType):
        from ray.cluster_utils import Cluster

        self.ray = ray
        head = {"num_cpus": 0, "include_dashboard": False, "object_store_memory": MEMORY}
        head["_system_config"] = {"health_check_timeout_ms": 60_000}  # a busy machine is no lost one
        self.cluster = Cluster(initialize_head=True, head_node_args=head)
        self.machines = []
        self.complete()

    def complete(self) -> None:
        """Add machines until there are two, which ignore SIGINT, as what a script starts in the background does."""
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        while len(self.machines) < 2:
            self.machines.append(self.cluster.add_node(num_cpus=1, object_store_memory=MEMORY))
        signal.signal(signal.SIGINT, before)

    def lose_one(self) -> None:
        """End a machine at once, as if its power were cut."""
        self.cluster.remove_node(self.machines.pop(0), allow_graceful=False)


@contextmanager
def raylets() -> Iterator[Raylets]:
    import ray

    before = {name: os.environ.get(name) for name in ("PYTHONPATH", "RAY_USAGE_STATS_ENABLED")}
    os.environ |= {"PYTHONPATH": CODE, "RAY_USAGE_STATS_ENABLED": "0"}
    found = Raylets(ray)
    try:
        ray.init(found.cluster.address, log_to_driver=False, logging_level="error")
        yield found
    finally:
        ray.shutdown()
        found.cluster.shutdown()
        for name, value in before.items():
            os.environ.pop(name)
            os.environ |= {} if value is None else {name: value}


def make_poisoned(*given) -> Callable:
    """As `_make_logged`, for queries one of which ends the process that reads it."""
    from Stage2.inference.cohort import _make_logged  # here: it takes long, and most processes need none of it

    segment = _make_logged(*given)

    def work(query):
        if query.name == "poison":
            os._exit(1)
        return segment(query)

    return work


def make_fragile() -> Callable[[int], int]:
    """The square of a number; 3 ends the process, 13 is refused."""

    def work(number: int) -> int:
        if number == 3:
            os._exit(1)
        if number == 13:
            raise ValueError("13 is no number for this")
        return number**2

    return work


def toy_repository(root: Path) -> Path:
    """Entry points that know the small encoder `toy`."""
    (root / "Stage2").mkdir(parents=True)
    for name in ("training", "validation", "finetuning"):
        (root / "Stage2" / f"{name}.py").write_text(TOY_ENTRY.format(name=name))
    return root


def files_of(folder: Path) -> dict[str, bytes]:
    """All files below a folder, by name."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
