"""MoCo v2: DenseCL without its dense loss; everything else as there."""

_base_ = ["../densecl/densecl_roco_50ep.py"]

model = dict(loss_lambda=0.0)
