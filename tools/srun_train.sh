#!/usr/bin/env bash
# Stage 1 in one process per GPU of a Slurm allocation.
set -euo pipefail

usage() {
    cat <<'TEXT'
Usage: bash tools/srun_train.sh PARTITION JOB_NAME CONFIG [GPUS] [options]

Pre-trains a backbone under Slurm (srun): one process per GPU, on as many machines as they need.

  PARTITION  Slurm partition
  JOB_NAME   name of the job
  CONFIG     config file, for example configs/selfsup/densecl/densecl_roco_50ep.py
  GPUS       number of processes of all machines together (default: the variable GPUS, else 8)
  options  passed on to tools/train.py:
           --work_dir DIR       folder for logs and checkpoints
           --auto-resume        go on with the newest checkpoint in it, or start a new run if there is none
           --resume_from CKPT   go on with this checkpoint
           --pretrained FILE    weights of the backbone to start from (.pth or .safetensors)
           --auto-scale-lr      scale lr with the images per step of all processes (linear rule)
           --seed N             seed of all randomness
           --cfg-options KEY=VALUE ...   for example data_root=my/images max_epochs=2 depth=18

Variables:
  GPUS_PER_NODE   processes, and GPUs asked for, on each machine (default: 8, or GPUS if that is less;
                  0 asks for no GPU and trains on CPUs)
  CPUS_PER_TASK   cores of each process (default: 5)
  SRUN_ARGS       further arguments of srun, for example "--time=24:00:00 --qos=long"
  PORT            port of the first machine (default: MASTER_PORT, else 29500 + job number modulo 10000)
  JOIN_TIMEOUT    seconds that processes wait for each other at the start (default: 300)

With --auto-resume the same command line can be started again, by hand or by Slurm's requeue, until the run is finished.
TEXT
}

case "${1:-}" in
    -h | --help) usage; exit 0 ;;
esac
if [ $# -lt 3 ]; then
    usage >&2
    exit 2
fi
partition="$1"
job_name="$2"
config="$3"
shift 3
gpus="${GPUS:-8}"
if [ $# -gt 0 ] && [[ "$1" != -* ]]; then
    gpus="$1"
    shift
fi
fail() {
    echo "srun_train.sh: error: $1" >&2
    exit 2
}
[[ "$gpus" =~ ^[1-9][0-9]*$ ]] || fail "found GPUS '$gpus', expected a number of processes, 1 or more"
per_node="${GPUS_PER_NODE:-$((gpus < 8 ? gpus : 8))}"
cpus="${CPUS_PER_TASK:-5}"
[[ "$per_node" =~ ^[0-9]+$ ]] || fail "found GPUS_PER_NODE '$per_node', expected a number, 0 or more"
[[ "$cpus" =~ ^[1-9][0-9]*$ ]] || fail "found CPUS_PER_TASK '$cpus', expected a number of cores, 1 or more"
if [ "$per_node" -gt 0 ] && [ $((gpus % per_node)) -ne 0 ]; then
    fail "found GPUS $gpus, expected a multiple of GPUS_PER_NODE $per_node; change one of them"
fi
command -v srun >/dev/null || fail "found no srun on this machine, expected Slurm; use tools/dist_train.sh without it"

root="$(cd -P "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
python="$root/.venv/bin/python"
[ -x "$python" ] || python=python

request=(-p "$partition" "--job-name=$job_name" "--ntasks=$gpus" "--cpus-per-task=$cpus" --kill-on-bad-exit=1)
if [ "$per_node" -gt 0 ]; then
    request+=("--gres=gpu:$per_node" "--ntasks-per-node=$per_node")
fi
read -r -a further <<<"${SRUN_ARGS:-}"

export OMP_NUM_THREADS="${OMP_NUM_THREADS:-$cpus}"
export MKL_NUM_THREADS="${MKL_NUM_THREADS:-$OMP_NUM_THREADS}"
export TORCH_CPP_LOG_LEVEL="${TORCH_CPP_LOG_LEVEL:-ERROR}" # failed attempts to connect are reported once, at the end
exec srun "${request[@]}" ${further[@]+"${further[@]}"} \
    "$python" -u "$root/tools/train.py" "$config" --launcher slurm "$@"
