"""DenseCL in minutes on a CPU: ResNet-18, views of 96 pixels, a queue of 1,024 keys, three epochs."""

_base_ = ["densecl_roco_50ep.py"]

model = dict(depth=18, queue_length=1024)
train_dataloader = dict(num_workers=2, dataset=dict(data_root="data/demo/radiographs", view=dict(image_size=96)))
train_cfg = dict(max_epochs=3)
default_hooks = dict(logger=dict(interval=2))
