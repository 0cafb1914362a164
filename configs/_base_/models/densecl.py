"""DenseCL as published: ResNet, two projections of 128 channels, two queues of 65,536 keys."""

model = dict(
    type="DenseCL",
    depth=101,
    feature_channels=128,
    queue_length=65536,
    momentum=0.999,
    temperature=0.2,
    loss_lambda=0.5,
    precision="fp32",
    channels_last=False,
    compile=False,
    data_preprocessor=dict(type="ColourAugmentation"),  # the device's half of the random views
)
