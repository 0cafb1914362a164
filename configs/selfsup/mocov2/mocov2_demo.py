"""MoCo v2 in minutes on a CPU: the demo of DenseCL without the dense loss."""

_base_ = ["../densecl/densecl_demo.py"]

model = dict(loss_lambda=0.0)
