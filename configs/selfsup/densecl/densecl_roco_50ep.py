"""DenseMP Stage 1 as published: DenseCL, ResNet-101, ROCO radiology images, 50 epochs.

Put the images into data/roco and give ImageNet weights with --pretrained.
"""

_base_ = [
    "../../_base_/models/densecl.py",
    "../../_base_/datasets/radiographs.py",
    "../../_base_/schedules/sgd_cosine.py",
    "../../_base_/default_runtime.py",
]
