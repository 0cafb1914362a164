"""MAE in minutes on a CPU: ViT-Ti/16 at 256 pixels, a decoder of two blocks, three epochs."""

_base_ = ["mae_roco_50ep.py"]

model = dict(width=192, depth=12, heads=3, decoder_width=128, decoder_depth=2, decoder_heads=4)
train_dataloader = dict(batch_size=32, num_workers=2, dataset=dict(data_root="data/demo/radiographs"))
train_cfg = dict(max_epochs=3)
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-4, begin=0, end=1, by_epoch=True, convert_to_iter_based=True),
    dict(type="CosineAnnealingLR", eta_min=0.0, begin=1, by_epoch=True, convert_to_iter_based=True),
]
default_hooks = dict(logger=dict(interval=2))
optim_wrapper = dict(optimizer=dict(lr=1e-3))
auto_scale_lr = dict(base_batch_size=32)
