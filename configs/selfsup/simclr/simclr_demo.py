"""SimCLR in minutes on a CPU: ResNet-18, views of 96 pixels, three epochs."""

_base_ = ["simclr_roco_50ep.py"]

model = dict(depth=18, channels_last=True)
train_dataloader = dict(
    batch_size=32, num_workers=2, dataset=dict(data_root="data/demo/radiographs", view=dict(image_size=96))
)
train_cfg = dict(max_epochs=3)
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-4, begin=0, end=1, by_epoch=True, convert_to_iter_based=True),
    dict(type="CosineAnnealingLR", eta_min=0.0, begin=1, by_epoch=True, convert_to_iter_based=True),
]
default_hooks = dict(logger=dict(interval=2))
auto_scale_lr = dict(base_batch_size=32)
