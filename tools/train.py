"""Stage 1: pre-trains a backbone on images without labels, by the pretext task of a config file.

Example: python tools/train.py configs/selfsup/densecl/densecl_demo.py --cfg-options data_root=my/images max_epochs=2
"""

import argparse
import sys
import traceback
from contextlib import suppress
from pathlib import Path

from Stage1.files import printable
from Stage1.processes import end_at_once
from Stage1.runs.settings import SHORT_NAMES, default_work_dir, find_config, split_options

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
        "--pretrained", metavar="FILE", help="weights to start the backbone from (.pth or .safetensors)"
    )
    parser.add_argument(
        "--auto-scale-lr", "--auto_scale_lr", action="store_true",
        help="multiply lr by the images per step of all processes / the config's 32 (linear rule)",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, help="seed of all randomness (default: the config's, 0)")
    parser.add_argument(
        "--launcher", choices=["none", "pytorch", "slurm"], default="none", help="what starts the ranks"
    )
    parser.add_argument(
        "--cfg-options", "--cfg_options", nargs="+", action="extend", default=[], metavar="KEY=VALUE",
        help="settings to change; values are taken as typed, lists as 0.2,1.0",
    )  # fmt: skip
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    try:
        find_config(args.config)
        split_options(args.cfg_options)
    except (OSError, ValueError) as error:
        print(f"{NAME}: error: {printable(error)}", file=sys.stderr)
        return 1
    from Stage1.runs import distributed, training  # loads MMEngine and torch: help and refusals come before

    runner, folder = None, args.work_dir or str(default_work_dir(args.config))
    try:
        cfg = training.plan_run(args)
        with training.sole_writer(cfg):
            runner = training.build_runner(cfg, args)
            if runner is not None:
                runner.train()
    except Exception as error:
        if runner is not None:
            with suppress(OSError):  # the disk may be full
                runner.logger.info(printable(f"The run failed:\n{traceback.format_exc()}"))  # to the log file alone
        return distributed.report_failure(error, NAME, folder, everywhere=runner is None, launcher=args.launcher)
    distributed.leave_group()
    return 0


if __name__ == "__main__":
    end_at_once(main())
