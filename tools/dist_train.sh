#!/usr/bin/env bash
# Stage 1 in one process per GPU of this machine (or in so many processes on its CPU).
set -euo pipefail

usage() {
    cat <<'TEXT'
Usage: bash tools/dist_train.sh CONFIG GPUS [options]

Pre-trains a backbone with DenseCL in GPUS processes: one per GPU (NCCL), or on the CPU where there is no GPU (gloo).

  CONFIG   config file, for example configs/selfsup/densecl/densecl_roco_50ep.py
  GPUS     number of processes; the batch of one step is GPUS times the config's batch_size
  options  passed on to tools/train.py: --work_dir DIR, --resume_from CKPT, --pretrained FILE, --seed N,
           --cfg-options KEY=VALUE ... (for example data_root=my/images max_epochs=2 depth=18)

Several machines: run the same command on each with NNODES, NODE_RANK, MASTER_ADDR and MASTER_PORT (29500) set.
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

nodes="${NNODES:-1}"
if [ "$nodes" -eq 1 ] && [ "$gpus" -eq 1 ]; then
    exec "$python" "$root/tools/train.py" "$config" "$@" # one process needs no process group
fi

# Processes on one machine share its cores.
threads=$(($(nproc) / gpus))
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-$((threads > 0 ? threads : 1))}"
export MKL_NUM_THREADS="${MKL_NUM_THREADS:-$OMP_NUM_THREADS}"

if [ "$nodes" -eq 1 ]; then
    rendezvous=(--standalone) # picks a free port
else
    rendezvous=(--nnodes "$nodes" --node_rank "${NODE_RANK:?set NODE_RANK to this machine\'s number, from 0}"
        --master_addr "${MASTER_ADDR:?set MASTER_ADDR to the address of machine 0}"
        --master_port "${MASTER_PORT:-29500}")
fi
exec "$python" -m torch.distributed.run "${rendezvous[@]}" --nproc_per_node "$gpus" \
    "$root/tools/train.py" "$config" --launcher pytorch "$@"
