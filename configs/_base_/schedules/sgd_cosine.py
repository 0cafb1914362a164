"""SGD with a cosine that reaches 0 after the last iteration of the last epoch."""

train_cfg = dict(by_epoch=True, max_epochs=50)
optim_wrapper = dict(optimizer=dict(type="SGD", lr=0.0375, momentum=0.9, weight_decay=1e-4))
param_scheduler = [dict(type="CosineAnnealingLR", eta_min=0.0, by_epoch=True, convert_to_iter_based=True)]
# The linear rule, 0.0375 per 32 images of all processes, is applied with --cfg-options auto_scale_lr.enable=True.
auto_scale_lr = dict(base_batch_size=32, enable=False)
