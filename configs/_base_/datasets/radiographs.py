"""A folder of images without labels, two random views of each."""

train_dataloader = dict(
    batch_size=32,  # per process
    num_workers=4,
    drop_last=True,
    collate_fn=dict(type="collate_views"),
    sampler=dict(type="SeededSampler", shuffle=True),
    dataset=dict(
        type="Radiographs",
        data_root="data/roco",
        view=dict(
            image_size=224,
            crop_scale=(0.2, 1.0),
            jitter=(0.4, 0.4, 0.4, 0.1),
            jitter_probability=0.8,
            grayscale_probability=0.2,
            blur_sigma=(0.1, 2.0),
            blur_probability=0.5,
            flip_probability=0.5,
        ),
    ),
)
