"""Stage 1: pre-trains a backbone with DenseCL from a config file.

Example: python tools/train.py configs/selfsup/densecl/densecl_demo.py --cfg-options data_root=my/images max_epochs=2
"""

import argparse
import sys
import uuid
from pathlib import Path

import torch
from mmengine.config import DictAction
from mmengine.runner import Runner

from Stage1 import distributed
from Stage1.checkpoints import check_resumable, load_backbone, read_checkpoint
from Stage1.recipe import SHORT_NAMES, check_data, default_work_dir, find_path, load_recipe


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="train.py",
        description=__doc__,
        epilog=f"Short names for --cfg-options: {', '.join(SHORT_NAMES)}. Everything else by its dotted path in the "
        "config, for example model.temperature=0.1.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("config", help="config file, for example configs/selfsup/densecl/densecl_roco_50ep.py")
    parser.add_argument(
        "--work_dir", "--work-dir", help="folder for logs and checkpoints (default: ./work_dirs/<path below configs>)"
    )
    parser.add_argument("--resume_from", "--resume-from", metavar="CKPT", help="checkpoint of a run to continue")
    parser.add_argument("--pretrained", metavar="FILE", help="ResNet weights to start the backbone from")
    parser.add_argument("--seed", type=int, help="seed of all randomness (default: the config's, 0)")
    parser.add_argument(
        "--launcher", choices=["none", "pytorch", "slurm"], default="none", help="what starts the ranks"
    )
    parser.add_argument(
        "--cfg-options", "--cfg_options", nargs="+", action=DictAction, default={}, metavar="KEY=VALUE",
        help="settings to change",
    )  # fmt: skip
    return parser.parse_args(argv)


def build_runner(args: argparse.Namespace) -> Runner:
    """The run that the command line asks for, checked and ready to train."""
    distributed.check_launcher(args.launcher)
    cfg = load_recipe(args.config, args.cfg_options)
    check_data(cfg, distributed.processes(args.launcher))
    cfg.work_dir = str(args.work_dir or default_work_dir(args.config))
    cfg.launcher = args.launcher
    # MMEngine shares loggers and message hubs between runs of one process by name and second of their start.
    cfg.experiment_name = f"{Path(args.config).stem}_{uuid.uuid4().hex[:8]}"
    cfg.train_dataloader.pin_memory = torch.cuda.is_available()
    if args.seed is not None:
        cfg.randomness.seed = args.seed

    resumed = None
    if args.resume_from:
        path = find_path(args.resume_from)
        resumed = read_checkpoint(path)
        cfg.load_from, cfg.resume = str(path), True
        saved_seed = resumed.get("meta", {}).get("seed", cfg.randomness.seed)
        if args.seed not in (None, saved_seed):
            raise ValueError(
                f"found --seed {args.seed}, but {path} continues a run with seed {saved_seed}; leave --seed out"
            )
        cfg.randomness.seed = saved_seed

    if args.launcher != "none":
        cfg.model_wrapper_cfg = distributed.model_wrapper()
        if not torch.cuda.is_available():
            distributed.start_cpu_group(args.launcher)
    runner = Runner.from_cfg(cfg)
    model = getattr(runner.model, "module", runner.model)
    if resumed is not None:
        check_resumable(model.state_dict(), resumed, cfg.load_from)
    elif args.pretrained:
        path = find_path(args.pretrained)
        loaded = load_backbone(model.backbone, path)
        model.encoder_k[0].load_state_dict(model.backbone.state_dict())
        runner.logger.info(f"Loaded {loaded} tensors from {path} into the backbones of both encoders.")
    if resumed is not None and args.pretrained:
        runner.logger.info(f"--pretrained {args.pretrained} is not read: {cfg.load_from} holds all weights.")
    return runner


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    try:
        runner = build_runner(args)
    except (ValueError, FileNotFoundError) as error:
        if distributed.rank() == 0:
            print(f"{Path(__file__).name}: error: {error}", file=sys.stderr)
        return 1
    runner.train()
    distributed.leave_group()
    return 0


if __name__ == "__main__":
    sys.exit(main())
