"""SimMIM as published beside DenseMP: Swin-B, ROCO, 50 epochs, 2,048 images in a step of all processes.

Give ImageNet weights of SimMIM with --pretrained.
"""

_base_ = [
    "../../_base_/datasets/whole_radiographs.py",
    "../../_base_/schedules/warmup_cosine.py",
    "../../_base_/default_runtime.py",
]

model = dict(
    type="SimMIM", width=128, depths=(2, 2, 18, 2), heads=(4, 8, 16, 32), window=7, masked_share=0.75,
    precision="fp32", channels_last=False, compile=False,
)  # fmt: skip
train_dataloader = dict(batch_size=256)
optim_wrapper = dict(
    optimizer=dict(type="AdamW", lr=8e-4, betas=(0.9, 0.999), weight_decay=0.05),
    clip_grad=dict(max_norm=5.0),
    paramwise_cfg=dict(
        bias_decay_mult=0.0, norm_decay_mult=0.0, flat_decay_mult=0.0,
        custom_keys=dict(relative_position_bias_table=dict(decay_mult=0.0)),
    ),
)  # fmt: skip
param_scheduler = [
    dict(type="LinearLR", start_factor=5e-3, begin=0, end=5, by_epoch=True, convert_to_iter_based=True),
    dict(type="CosineAnnealingLR", eta_min=4e-5, begin=5, by_epoch=True, convert_to_iter_based=True),
]
auto_scale_lr = dict(base_batch_size=2048, enable=False)
