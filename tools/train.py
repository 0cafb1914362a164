"""Stage 1: pre-trains a backbone with DenseCL from a config file.

Example: python tools/train.py configs/selfsup/densecl/densecl_demo.py --cfg-options data_root=my/images max_epochs=2
"""

import argparse
import logging
import sys
import traceback
import uuid
from pathlib import Path

import torch
from mmengine import dist
from mmengine.config import Config, DictAction
from mmengine.logging import MMLogger
from mmengine.runner import Runner

from Stage1.runs import distributed, resume
from Stage1.runs.config import SHORT_NAMES, check_data, default_work_dir, find_path, load_recipe
from Stage1.weights.backbones import load_backbone
from Stage1.weights.checkpoints import read_checkpoint

NAME = Path(__file__).name


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
    going_on = parser.add_mutually_exclusive_group()
    going_on.add_argument("--resume_from", "--resume-from", metavar="CKPT", help="checkpoint of a run to continue")
    going_on.add_argument(
        "--auto-resume", "--auto_resume", action="store_true",
        help="continue with the newest checkpoint in work_dir; start a new run if there is none",
    )  # fmt: skip
    parser.add_argument(
        "--pretrained", metavar="FILE", help="ResNet weights to start the backbone from (.pth or .safetensors)"
    )
    parser.add_argument(
        "--auto-scale-lr", "--auto_scale_lr", action="store_true",
        help="multiply lr by the images per step of all processes / the recipe's 32 (linear rule)",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, help="seed of all randomness (default: the config's, 0)")
    parser.add_argument(
        "--launcher", choices=["none", "pytorch", "slurm"], default="none", help="what starts the ranks"
    )
    parser.add_argument(
        "--cfg-options", "--cfg_options", nargs="+", action=DictAction, default={}, metavar="KEY=VALUE",
        help="settings to change",
    )  # fmt: skip
    return parser.parse_args(argv)


class TrainingRunner(Runner):
    """MMEngine's runner; its dumps of environment, config and hooks go to the log file alone."""

    def build_logger(self, *args, **kwargs) -> MMLogger:
        logger = super().build_logger(*args, **kwargs)
        for handler in logger.handlers:
            if not isinstance(handler, logging.FileHandler):
                handler.addFilter(lambda record: record.levelno > logging.INFO or "\n" not in record.getMessage())
        return logger


def build_runner(args: argparse.Namespace) -> Runner | None:
    """The run that the command line asks for, checked and ready to train; None if it is finished already."""
    distributed.check_launcher(args.launcher)
    processes = distributed.processes(args.launcher)
    cfg = load_recipe(args.config, args.cfg_options)
    check_data(cfg, processes)
    cfg.work_dir = str(args.work_dir or default_work_dir(args.config))
    cfg.launcher, cfg.processes = args.launcher, processes
    # MMEngine shares loggers and message hubs between runs of one process by name and second of their start.
    cfg.experiment_name = f"{Path(args.config).stem}_{uuid.uuid4().hex[:8]}"
    cfg.train_dataloader.pin_memory = torch.cuda.is_available()
    cfg.auto_scale_lr.enable = cfg.auto_scale_lr.enable or args.auto_scale_lr
    if args.seed is not None:
        cfg.randomness.seed = args.seed
    if args.launcher != "none":
        cfg.model_wrapper_cfg = distributed.model_wrapper()
        distributed.join_group(args.launcher, **cfg.env_cfg.dist_cfg)

    path = find_path(args.resume_from) if args.resume_from else None
    path = path or resume.choose_checkpoint(cfg.work_dir, args.auto_resume)
    checkpoint = None
    if path:
        checkpoint = read_checkpoint(path)
        resume.prepare_resume(cfg, args.seed, checkpoint, path)
        if checkpoint["meta"]["epoch"] >= cfg.train_cfg.max_epochs:
            if dist.is_main_process():
                print(f"{NAME}: the run is finished: {path} is its last of {cfg.train_cfg.max_epochs} epochs")
            return None
    runner = TrainingRunner.from_cfg(cfg)
    model = getattr(runner.model, "module", runner.model)
    if checkpoint:
        resume.check_model(model.state_dict(), checkpoint, path)
    elif args.pretrained:
        path = find_path(args.pretrained)
        loaded = load_backbone(model.backbone, path)
        model.encoder_k[0].load_state_dict(model.backbone.state_dict())
        runner.logger.info(f"Loaded {path} into the backbones of both encoders: {loaded}")
    if checkpoint and args.pretrained:
        runner.logger.info(f"--pretrained {args.pretrained} is not read: {cfg.load_from} holds all weights.")
    loader = runner.train_dataloader
    if checkpoint:
        resume.check_epoch_length(len(loader), checkpoint, path)
        for change in resume.changed_settings(cfg, checkpoint):
            runner.logger.warning(f"Not as in the run that wrote {path.name}, so the end may differ: {change}")
    log_plan(runner, cfg, len(loader.dataset))
    return runner


def log_plan(runner: Runner, cfg: Config, images: int) -> None:
    """What runs, in one line, and whether its learning rate suits its batch."""
    batch, base, lr = cfg.train_dataloader.batch_size, cfg.auto_scale_lr.base_batch_size, cfg.optim_wrapper.optimizer.lr
    runner.logger.info(
        f"{cfg.model.type} with ResNet-{cfg.model.depth}: {images} images, {cfg.train_cfg.max_epochs} epochs, "
        f"{cfg.processes} process{'es' * (cfg.processes > 1)} with {batch} images per step each; "
        f"{'continues ' + cfg.load_from if cfg.get('resume') else 'a new run'} in {runner.work_dir}"
    )
    total = batch * cfg.processes
    if total != base and not cfg.auto_scale_lr.enable and not cfg.get("resume"):
        runner.logger.info(
            f"lr {lr} is for {base} images per step, here are {total}: "
            f"the linear rule would give {lr * total / base:.4g} (--auto-scale-lr)"
        )


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    runner = None
    try:
        runner = build_runner(args)
        if runner is not None:
            runner.train()
    except Exception as error:
        if runner is not None:
            runner.logger.info("The run failed:\n" + traceback.format_exc())  # to the log file alone
        return distributed.report_failure(error, NAME, everywhere=runner is None)
    distributed.leave_group()
    return 0


if __name__ == "__main__":
    sys.exit(main())
