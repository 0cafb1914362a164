"""A run of Stage 1: its config checked, MMEngine's runner built from it, and one process at a time in its folder."""

import argparse
import logging
import sys
import uuid
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
from mmengine import dist
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.runner import Runner

from Stage1.files import locked, printable
from Stage1.runs import distributed, resume
from Stage1.runs.config import check_data, find_task, load_config
from Stage1.runs.settings import default_work_dir, find_path, split_options
from Stage1.weights.backbones import load_backbone
from Stage1.weights.checkpoints import read_checkpoint

logger = logging.getLogger(__name__)


class TrainingRunner(Runner):
    """MMEngine's runner; its dumps of environment, config and hooks go to the log file alone."""

    def build_logger(self, *args, **kwargs) -> MMLogger:
        logger = super().build_logger(*args, **kwargs)
        for handler in logger.handlers:
            if isinstance(handler, logging.FileHandler):
                handler.handleError = lambda record, path=handler.baseFilename: _stop_unless_logged(path)
            else:
                handler.addFilter(_is_for_people)
        return logger


def _is_for_people(record: logging.LogRecord) -> bool:
    """Whether a message belongs on the console: no dump of many lines, and no line for every parameter."""
    text = record.getMessage()
    if text.startswith("paramwise_options") or text.endswith("requires_grad=False"):
        return False
    return record.levelno > logging.INFO or "\n" not in text


def _stop_unless_logged(path: str) -> None:
    """What a log file's handler does with an error: one of the disk ends the run, with the file's name."""
    error = sys.exc_info()[1]
    if isinstance(error, OSError):
        raise OSError(error.errno, error.strerror, path) from error
    raise error


def plan_run(args: argparse.Namespace) -> Config:
    """The config of the run that the command line asks for, checked against data and processes; nothing is written.

    Raises:
        FileNotFoundError, ValueError: something does not fit.
    """
    distributed.check_launcher(args.launcher)
    processes = distributed.processes(args.launcher)
    cfg = load_config(args.config, split_options(args.cfg_options))
    cfg.work_dir = str(args.work_dir or default_work_dir(args.config))
    for path in (cfg.train_dataloader.dataset.data_root, cfg.work_dir, args.resume_from or ""):
        if printable(path) != path:  # MMEngine writes its config as UTF-8
            raise ValueError(
                f"found {printable(path)}, a name that is not UTF-8, expected one that a config file can hold; rename "
                "it, or make a link to it with another name"
            )
    check_data(cfg, processes)
    found = cfg.get("load_from") or cfg.get("resume")
    if found and not (args.resume_from or args.auto_resume) and distributed.rank(args.launcher) == 0:
        logger.warning("load_from and resume in %s have no effect; --resume_from or --auto-resume goes on", args.config)
    cfg.load_from, cfg.resume = None, False  # of the resumed run that wrote this config; MMEngine would check nothing
    cfg.launcher, cfg.processes = args.launcher, processes
    if args.seed is not None:
        cfg.randomness.seed = args.seed
    cfg.auto_scale_lr.enable = cfg.auto_scale_lr.enable or args.auto_scale_lr
    cfg.train_dataloader.pin_memory = torch.cuda.is_available()
    cfg.train_dataloader.dataset.views = find_task(cfg.model.type).views
    if not torch.cuda.is_available():
        cfg.pop("sync_bn", None)  # torch synchronises batch norm over GPUs only
    # MMEngine shares loggers and message hubs between runs of one process by name and second of their start.
    cfg.experiment_name = f"{Path(args.config).stem}_{uuid.uuid4().hex[:8]}"
    return cfg


def sole_writer(cfg: Config) -> AbstractContextManager:
    """Keeps other runs out of the run's folder; its first process does that for all."""
    return locked(cfg.work_dir) if distributed.rank(cfg.launcher) == 0 else nullcontext()


def build_runner(cfg: Config, args: argparse.Namespace) -> Runner | None:
    """The run of a config that :func:`plan_run` made, ready to train; None if it is finished already."""
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
                print(f"train.py: the run is finished: {path} is its last of {cfg.train_cfg.max_epochs} epochs")
            return None
    runner = TrainingRunner.from_cfg(cfg)
    model = getattr(runner.model, "module", runner.model)
    if checkpoint:
        resume.check_model(model.state_dict(), checkpoint, path)
    elif args.pretrained:
        path = find_path(args.pretrained)
        loaded = load_backbone(model.backbone, path)
        model.backbone_loaded()
        runner.logger.info(f"Loaded {printable(path)} into the backbone: {loaded}")
    if checkpoint and args.pretrained:
        runner.logger.info(f"--pretrained {printable(args.pretrained)} is not read: {cfg.load_from} holds all weights.")
    loader = runner.train_dataloader
    if checkpoint:
        resume.check_epoch_length(len(loader), checkpoint, path)
        for change in resume.changed_settings(cfg, checkpoint):
            runner.logger.warning(f"Not as in the run that wrote {path.name}, so the end may differ: {change}")
    log_plan(runner, cfg, getattr(model.backbone, "name", type(model.backbone).__name__))
    return runner


def log_plan(runner: Runner, cfg: Config, backbone: str) -> None:
    """What runs, in one line, and whether its learning rate suits its batch."""
    batch, base, lr = cfg.train_dataloader.batch_size, cfg.auto_scale_lr.base_batch_size, cfg.optim_wrapper.optimizer.lr
    runner.logger.info(
        f"{cfg.model.type} with {backbone}: {len(runner.train_dataloader.dataset)} images, {cfg.train_cfg.max_epochs} "
        "epochs, "
        f"{cfg.processes} process{'es' * (cfg.processes > 1)} with {batch} images per step each; "
        f"{'continues ' + cfg.load_from if cfg.get('resume') else 'a new run'} in {runner.work_dir}"
    )
    total = batch * cfg.processes
    if total != base and not cfg.auto_scale_lr.enable and not cfg.get("resume"):
        runner.logger.info(
            f"lr {lr} is for {base} images per step, here are {total}: "
            f"the linear rule would give {lr * total / base:.4g} (--auto-scale-lr)"
        )
