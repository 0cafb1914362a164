"""Make the demo data: phantom abdominal MR and CT and radiograph-like images, processed or as downloaded."""

import argparse
import logging
import sys
import time
from pathlib import Path

from Stage1.command_line import add_workers, run_tool
from Stage2.phantom.parts import FOLDERS, PROCESSED, RAW, Part

KINDS = (*PROCESSED, *RAW)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=f"{__doc__} mr, ct and radiographs are ready for training. chaos (a DICOM and PNG tree, and the "
        "same as CHAOS_Train_Sets.zip), sabs (NIfTI files in Hounsfield units, and RawData.zip) and roco (a tree of "
        "JPEG files, some of them broken) are for tools/prepare_data.py.",
        epilog="Run again, it does what is missing: nothing, if all is there.",
    )
    parser.add_argument("out", type=Path, metavar="OUT", help=f"folder to write {', '.join(FOLDERS.values())} to")
    parser.add_argument(
        "--only", default=",".join(PROCESSED), help=f"parts to make, of {','.join(KINDS)} (default %(default)s)"
    )
    parser.add_argument("--mr-scans", type=int, default=20, metavar="N", help="MR scans of mr and chaos (default 20)")
    parser.add_argument("--ct-scans", type=int, default=30, metavar="N", help="CT scans of ct and sabs (default 30)")
    parser.add_argument("--radiographs", type=int, default=300, metavar="N", help="JPEG images (default 300)")
    parser.add_argument(
        "--size", type=int, default=256, help="height and width of the scans in pixels (default 256; sabs: twice that)"
    )
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same files (default 0)")
    add_workers(parser)
    parser.add_argument("--overwrite", action="store_true", help="replace folders made with other parameters")
    options = parser.parse_args(arguments)

    chosen = [kind.strip() for kind in options.only.split(",") if kind.strip()]
    if not chosen or set(chosen) - set(KINDS):
        parser.error(f"--only {options.only}: expected one or more of {', '.join(KINDS)}")
    scans = {"mr": options.mr_scans, "ct": options.ct_scans, "chaos": options.mr_scans, "sabs": options.ct_scans}
    counts = {**scans, "radiographs": options.radiographs, "roco": options.radiographs}
    if min(counts[kind] for kind in chosen) < 1 or options.size < 64 or options.seed < 0:
        parser.error("counts are at least 1, --size at least 64, --seed at least 0")

    def work() -> None:
        from Stage2.phantom.folder import make_part  # here, as it takes a second to load: --help need not wait for it

        for kind in (kind for kind in KINDS if kind in chosen):
            size = options.size if kind in scans else 0
            part = Part(kind=kind, count=counts[kind], seed=options.seed, size=size)
            started = time.monotonic()
            made = make_part(options.out, part, options.workers, options.overwrite)
            state = f"made in {time.monotonic() - started:.0f} s" if made else "already there"
            logging.info("%s: %d items %s", options.out / part.folder_name, part.count, state)

    return run_tool("make_demo_data.py", work)


if __name__ == "__main__":
    sys.exit(main())
