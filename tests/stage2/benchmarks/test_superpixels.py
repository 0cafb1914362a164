"""The benchmark of the preparation runs the real command, and counts the memory of all its processes."""

import os
import subprocess
import sys

import numpy as np
import pytest
import SimpleITK as sitk

from Stage2.benchmarks.superpixels import measure_superpixels, tree_memory


def test_the_memory_of_a_child_is_counted():
    before = tree_memory(os.getpid())
    code = "held = b'x' * (64 << 20); print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        child.stdout.readline()
        assert 60 < tree_memory(os.getpid()) - before < 120
        assert tree_memory(child.pid) > 64
        child.communicate(b"\n")


def test_it_runs_the_command_and_names_its_error(tmp_path):
    voxels = np.random.default_rng(0).uniform(0, 400, (1, 256, 256)).astype(np.float32)
    sitk.WriteImage(sitk.GetImageFromArray(voxels), str(tmp_path / "image_1.nii.gz"))
    spent = measure_superpixels(tmp_path, "CHAOST2", "SMALL", [1], repeats=1)[1]
    assert (tmp_path / "superpix-SMALL_1.nii.gz").is_file()
    assert 0 < spent.seconds < 60 and spent.memory >= spent.later_memory > 20
    with pytest.raises(ValueError, match="dataset=LITS is unknown"):
        measure_superpixels(tmp_path, "LITS", "SMALL", [1], repeats=1)
