"""The workbench: annotate one scan in the browser, see the others segmented, correct them, take the masks home.

Serves a folder of scans (NIfTI, DICOM series) on this machine and prints the address to open. Drawings and masks are
files in the folder; stopped and started again, it goes on where it was.

Example: python tools/serve.py --data FOLDER
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from Stage1.command_line import positive
from Stage2.adaptation.settings import MINUTES
from Stage2.inference.arguments import add_preparation, minutes


def port(text: str) -> int:
    """A port that can be listened on; 0: any that is free."""
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"found {text}, expected a number from 0 to 65535")
    return int(text)


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument_group("what to serve").add_argument
    add("--data", required=True, type=Path, metavar="FOLDER", help="scans: NIfTI files, folders with a DICOM series")
    add("--adapted", type=Path, metavar="DIR",
        help="adapted networks: used from there, kept there (default: FOLDER/.workbench/networks)")  # fmt: skip
    add("--start", metavar="WEIGHTS|random",
        help="what the first adaptation starts from, as of adapt.py (default: the starting network)")  # fmt: skip
    budget = parser.add_argument_group("how long to adapt").add_mutually_exclusive_group()
    budget.add_argument("--minutes", type=minutes, default=MINUTES, help="of processor time (default %(default)g)")
    budget.add_argument("--steps", type=positive, help="of the optimiser: the same masks again from the same drawings")

    add = parser.add_argument_group("who is let in").add_argument
    add("--port", type=port, default=0, help="(default: any that is free)")
    add("--host", default="127.0.0.1", help="address to listen on (default %(default)s: this machine alone)")
    add("--token-file", type=Path, metavar="FILE", help="a token of your own, 16 letters and digits or more")
    add("--name", dest="names", action="append", default=[], help="name by which other machines reach this one")
    add("--certificate", nargs=2, type=Path, metavar=("CERT", "KEY"), help="PEM files, for TLS")
    add("--read-only", action="store_true", help="show what there is, change nothing")
    add_preparation(parser, "how scans are prepared (default: by the modality)")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    options = parse_arguments(argv)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    try:
        from Stage2.inference.request import Preparation
        from Stage2.serving.security import token_in
        from Stage2.serving.server import serve
        from Stage2.serving.settings import ServeSettings

        preparation = Preparation(**{name: getattr(options, name) for name in vars(Preparation())})
        settings = ServeSettings(
            data=options.data, adapted=options.adapted, start=options.start, minutes=options.minutes,
            steps=options.steps, preparation=preparation, read_only=options.read_only,
        )  # fmt: skip
        token = options.token_file and token_in(options.token_file)
        certificate = options.certificate and tuple(options.certificate)
        serve(
            settings, lambda address: print(f"open {address}", flush=True), host=options.host, port=options.port,
            token=token, names=options.names, certificate=certificate,
        )  # fmt: skip
    except ModuleNotFoundError as error:
        print(f"serve.py: error: {error.name} is missing; run: bash tools/setup.sh --workbench", file=sys.stderr)
        return 1
    except (OSError, ValueError) as error:
        print(f"serve.py: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
