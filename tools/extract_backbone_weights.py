"""Writes the backbone of a Stage 1 checkpoint to a file of its own, for Stage 2.

Example: python tools/extract_backbone_weights.py work_dirs/selfsup/densecl/densecl_roco_50ep/epoch_50.pth backbone.pth
"""

import argparse
import sys
from pathlib import Path

AUTHOR = "DenseMP"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", help="checkpoint of tools/train.py, DenseCL or MMPretrain, or a backbone's file")
    parser.add_argument("output", help="file to write: {'state_dict': {torchvision's names: ...}, 'author': 'DenseMP'}")
    args = parser.parse_args(argv)
    from Stage1.files import printable
    from Stage1.weights.backbones import backbone_weights
    from Stage1.weights.checkpoints import read_checkpoint, write_checkpoint

    try:
        if Path(args.output).is_dir():
            raise ValueError(f"found a folder at {args.output}, expected the name of a file to write")
        if args.output.endswith(".safetensors"):
            raise ValueError(f"found {args.output}, expected a name that ends in .pth, as torch.save writes the file")
        checkpoint = read_checkpoint(args.checkpoint)
        if Path(args.output).exists() and Path(args.output).samefile(args.checkpoint):
            raise ValueError(f"found {args.output} as checkpoint and output, expected another file; name one to write")
        weights = backbone_weights(checkpoint, args.checkpoint)
        # Copies: a slice of a larger tensor would be stored with all of it.
        content = {"state_dict": {key: tensor.clone() for key, tensor in weights.items()}, "author": AUTHOR}
        write_checkpoint(content, args.output)
    except (ValueError, OSError) as error:
        print(f"{Path(__file__).name}: error: {printable(error)}", file=sys.stderr)
        return 1
    print(f"Wrote {len(weights)} tensors to {printable(args.output)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
