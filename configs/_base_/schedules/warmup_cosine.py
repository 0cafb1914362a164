"""Fifty epochs: the learning rate rises over five, then falls along a cosine to 0 after the last iteration."""

train_cfg = dict(by_epoch=True, max_epochs=50)
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-4, begin=0, end=5, by_epoch=True, convert_to_iter_based=True),
    dict(type="CosineAnnealingLR", eta_min=0.0, begin=5, by_epoch=True, convert_to_iter_based=True),
]
