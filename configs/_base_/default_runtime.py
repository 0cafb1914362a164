"""Logs, checkpoints and randomness of every Stage 1 run."""

custom_imports = dict(
    imports=[
        "Stage1.runs.tasks",
        "Stage1.datasets",
        "Stage1.runs.optimisers",
        "Stage1.runs.hooks",
        "Stage1.runs.pictures",
        "Stage1.runs.storage",
    ]
)

default_hooks = dict(
    logger=dict(type="LoggerHook", interval=50),
    checkpoint=dict(type="CheckpointHook", interval=10, save_last=True, backend_args=dict(backend="atomic_local")),
)
custom_hooks = [
    dict(type="FiniteHook"),
    dict(type="UnreadableImagesHook"),
    dict(type="ThroughputHook"),
    dict(type="PictureHook"),
    dict(type="RandomStateHook"),
]
visualizer = dict(type="Visualizer", vis_backends=[dict(type="LocalVisBackend"), dict(type="TensorboardVisBackend")])
env_cfg = dict(dist_cfg=dict(backend="nccl"))
randomness = dict(seed=0)
log_level = "INFO"
