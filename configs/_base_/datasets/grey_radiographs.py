"""A folder of images without labels, made grey: 256 pixels, intensities of ROCO; views as SimCLR has them."""

_base_ = ["radiographs.py"]

train_dataloader = dict(
    dataset=dict(
        grey=True,
        view=dict(image_size=256, crop_scale=(0.08, 1.0), jitter=(0.8, 0.8, 0.8, 0.2), grayscale_probability=0.0),
    ),
)
model = dict(  # mean and deviation over ROCO are 89.82843423 and 61.21119588 of 255
    data_preprocessor=dict(type="ColourAugmentation", mean=[89.82843423 / 255] * 3, std=[61.21119588 / 255] * 3)
)
