"""Help and refused arguments of every tool load nothing that takes long: counted by modules, not by seconds."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HEAVY = (
    "torch", "torchvision", "mmengine", "mmcv", "SimpleITK", "scipy", "skimage", "sklearn", "cv2", "matplotlib",
    "pandas", "sacred", "onnx", "onnxruntime", "tensorboard",
)  # fmt: skip
TOOLS = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("tools/*.py"))
ENTRIES = ["Stage2/predict.py"]  # the other three show sacred's own help, which needs the experiment
BENCHMARKS = ("stage1", "stage2", "preparation", "one_scan", "workbench")
COMMANDS = [
    *((path, "--help") for path in (*TOOLS, *ENTRIES)),
    *((path, "--no-such-option") for path in TOOLS),
    *(("tools/prepare_data.py", command, "--help") for command in ("custom", "chaos", "sabs", "roco", "superpixels")),
    *(("tools/benchmark.py", command, "--help") for command in BENCHMARKS),
    ("tools/train.py", "configs/absent.py"),
    ("tools/train.py", "configs/selfsup/densecl/densecl_demo.py", "--cfg-options", "data_root"),
]
# A tool as it is started by hand, with what it has loaded told at its end.
PROGRAM = """
import atexit, runpy, sys
atexit.register(lambda: print("loaded:", *sys.modules, file=sys.__stdout__))
sys.argv = sys.argv[1:]
sys.path.insert(0, sys.argv[0].rpartition("/")[0])
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_answers_load_nothing_heavy(command):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *command], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == (0 if "--help" in command else done.returncode or 1)
    assert "Traceback" not in done.stderr
    answer, _, loaded = done.stdout.rpartition("loaded: ")
    assert answer if "--help" in command else done.stderr
    assert not {name.partition(".")[0] for name in loaded.split()} & set(HEAVY)
