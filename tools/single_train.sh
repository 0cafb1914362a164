#!/usr/bin/env bash
# Stage 1 in one process, on a GPU if there is one.
set -euo pipefail

usage() {
    cat <<'TEXT'
Usage: bash tools/single_train.sh CONFIG [options]

Pre-trains a backbone in one process, on a GPU if there is one.

  CONFIG   config file, for example configs/selfsup/densecl/densecl_demo.py
  options  passed on to tools/train.py:
           --work_dir DIR       folder for logs and checkpoints
           --auto-resume        go on with the newest checkpoint in it, or start a new run if there is none
           --resume_from CKPT   go on with this checkpoint
           --pretrained FILE    weights of the backbone to start from (.pth or .safetensors)
           --auto-scale-lr      scale lr with the images per step (linear rule)
           --seed N             seed of all randomness
           --cfg-options KEY=VALUE ...   for example data_root=my/images max_epochs=2 depth=18
TEXT
}

case "${1:-}" in
    -h | --help) usage; exit 0 ;;
    "") usage >&2; exit 2 ;;
esac

root="$(cd -P "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
python="$root/.venv/bin/python"
[ -x "$python" ] || python=python

exec "$python" "$root/tools/train.py" "$@"
