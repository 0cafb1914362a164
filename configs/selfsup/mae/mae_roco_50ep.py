"""MAE as published beside DenseMP: ViT-B/16, ROCO, 50 epochs, 4,096 images in a step of all processes.

Give ImageNet weights of MAE with --pretrained.
"""

_base_ = [
    "../../_base_/datasets/whole_radiographs.py",
    "../../_base_/schedules/warmup_cosine.py",
    "../../_base_/default_runtime.py",
]

model = dict(
    type="MAE", image_size=256, width=768, depth=12, heads=12,
    decoder_width=512, decoder_depth=8, decoder_heads=16, masked_share=0.75,
    precision="fp32", channels_last=False, compile=False,
)  # fmt: skip
train_dataloader = dict(batch_size=512)
optim_wrapper = dict(
    optimizer=dict(type="AdamW", lr=2.4e-3, betas=(0.9, 0.95), weight_decay=0.05),
    paramwise_cfg=dict(
        bias_decay_mult=0.0, norm_decay_mult=0.0, flat_decay_mult=0.0,
        custom_keys={name: dict(decay_mult=0.0) for name in ("class_token", "mask_token", "pos_embed")},
    ),
)  # fmt: skip
auto_scale_lr = dict(base_batch_size=4096, enable=False)
