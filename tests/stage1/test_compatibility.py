"""sacred and MMEngine find modules on a Python without `pkgutil.find_loader`, as 3.14 is."""

import subprocess
import sys

PROGRAM = """
import pkgutil
del pkgutil.find_loader
import Stage1.runs, Stage2.runs, sacred.optional
from mmengine.utils.dl_utils.misc import mmcv_full_available
print(sacred.optional.has_tensorflow, mmcv_full_available(), pkgutil.find_loader("json") is not None)
"""


def test_modules_are_found_without_find_loader():
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", PROGRAM], capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["False", "False", "True"], done.stderr
