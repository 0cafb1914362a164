"""SimCLR as published beside DenseMP: ResNet-50, ROCO, 50 epochs, 4 processes of 64 images.

Give ImageNet weights of SimCLR with --pretrained.
"""

_base_ = [
    "../../_base_/datasets/grey_radiographs.py",
    "../../_base_/schedules/warmup_cosine.py",
    "../../_base_/default_runtime.py",
]

model = dict(
    type="SimCLR", depth=50, feature_channels=128, temperature=0.1,
    precision="fp32", channels_last=False, compile=False,
)  # fmt: skip
sync_bn = "torch"  # over GPUs
train_dataloader = dict(batch_size=64)
optim_wrapper = dict(
    optimizer=dict(type="LARS", lr=0.3, momentum=0.9, weight_decay=1e-6),
    paramwise_cfg=dict(bias_decay_mult=0.0, norm_decay_mult=0.0),
)
auto_scale_lr = dict(base_batch_size=256, enable=False)
