"""Libraries find what they ask for: where Python has no `pkgutil.find_loader`, as 3.14, and without a home folder."""

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import pkgutil
del pkgutil.find_loader
import Stage2, sacred.optional
from mmengine.utils.dl_utils.misc import mmcv_full_available
print(sacred.optional.has_tensorflow, mmcv_full_available(), pkgutil.find_loader("json") is not None)
"""


def test_modules_are_found_without_find_loader():
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", PROGRAM], capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["False", "False", "True"], done.stderr


HOMELESS = """
import os, pwd
def gone(*_):
    raise KeyError("uid not found")
pwd.getpwuid = pwd.getpwnam = gone
for name in ("HOME", "USER", "LOGNAME", "LNAME", "USERNAME"):
    os.environ.pop(name, None)
import getpass, pathlib
import Stage1
home = pathlib.Path.home()
assert home.is_dir() and home.stat().st_mode & 0o777 == 0o700
getpass.getuser()
import Stage1.runs.training, Stage2.runs.experiment, matplotlib.pyplot  # they ask for caches
print(home)
"""


def test_a_user_without_home_and_entry_gets_a_temporary_folder():
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", HOMELESS], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert not Path(done.stdout.split()[-1]).exists()
