#!/usr/bin/env bash
# Stage 1 in one process per GPU of this machine (or in so many processes on its CPU), on one machine or several.
set -euo pipefail

usage() {
    cat <<'TEXT'
Usage: bash tools/dist_train.sh CONFIG GPUS [options]

Pre-trains a backbone in GPUS processes: one per GPU (NCCL), or on the CPU where there is no GPU (gloo).

  CONFIG   config file, for example configs/selfsup/densecl/densecl_roco_50ep.py
  GPUS     number of processes on this machine; one step's batch is all processes times the config's batch_size
  options  passed on to tools/train.py:
           --work_dir DIR       folder for logs and checkpoints
           --auto-resume        go on with the newest checkpoint in it, or start a new run if there is none
           --resume_from CKPT   go on with this checkpoint
           --pretrained FILE    weights of the backbone to start from (.pth or .safetensors)
           --auto-scale-lr      scale lr with the images per step of all processes (linear rule)
           --seed N             seed of all randomness
           --cfg-options KEY=VALUE ...   for example data_root=my/images max_epochs=2 depth=18

Several machines: run the same command on each, with these variables set:
  NNODES        number of machines
  NODE_RANK     number of this machine, from 0
  MASTER_ADDR   address of machine 0
  PORT          free port of machine 0 (default: MASTER_PORT, else 29500; on one machine any free port)
  JOIN_TIMEOUT  seconds that machines wait for each other at the start (default: 300)
TEXT
}

case "${1:-}" in
    -h | --help) usage; exit 0 ;;
esac
if [ $# -lt 2 ]; then
    usage >&2
    exit 2
fi
config="$1"
gpus="$2"
shift 2
if ! [[ "$gpus" =~ ^[1-9][0-9]*$ ]]; then
    echo "dist_train.sh: error: found GPUS '$gpus', expected a number of processes, 1 or more" >&2
    exit 2
fi

root="$(cd -P "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
python="$root/.venv/bin/python"
[ -x "$python" ] || python=python

if [ "${NNODES:-1}" = 1 ] && [ "$gpus" -eq 1 ]; then
    exec "$python" "$root/tools/train.py" "$config" "$@" # one process needs no process group
fi

# Processes on one machine share its cores.
threads=$(($(nproc) / gpus))
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-$((threads > 0 ? threads : 1))}"
export MKL_NUM_THREADS="${MKL_NUM_THREADS:-$OMP_NUM_THREADS}"
export TORCH_CPP_LOG_LEVEL=FATAL # the launcher says in one sentence what torch logs about connections

# -P: modules of the working directory must not hide installed ones.
exec "$python" -P -m Stage1.runs.launch "$gpus" "$root/tools/train.py" "$config" --launcher pytorch "$@"
