"""A folder of images without labels, made grey and resized as a whole to 256 x 256 pixels; mirrored or not."""

_base_ = ["grey_radiographs.py"]

train_dataloader = dict(
    dataset=dict(
        views=1,
        view=dict(crop_scale=None, jitter_probability=0.0, blur_probability=0.0),
    ),
)
