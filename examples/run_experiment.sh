#!/usr/bin/env bash
# One Stage 2 experiment over its folds: the driver that every script under examples/ shares.
set -euo pipefail
# shellcheck source=examples/shared.bash
source "$(dirname -- "${BASH_SOURCE[0]}")/shared.bash"

usage() {
    cat <<'TEXT'
Usage: run_experiment.sh train|test|finetune|finetune-test [key=value ...]

Runs Stage 2 once for each fold: one after another, or spread over GPUs or a Slurm cluster. Runs that are finished with
the same settings are skipped, interrupted trainings go on where they stood, and the first failure stops everything and
shows the end of its log. The scripts in examples/<experiment>/<variant>/ say which experiment, and hand over to this.

Every setting is an environment variable: NSTEP=200 ALL_EV="0 1" bash SCRIPT. Further key=value arguments go to the
entry point as they are (Stage2/runs/settings.py lists them) and win: bash SCRIPT print_interval=10.

Experiment
  DATASET        CHAOST2_Superpix (MR), SABS_Superpix (CT), or the .yaml file of your own (docs/datasets.md)
  LABEL_SETS     0 or 1: which organs are trained on and which are tested
  EXCLU          test classes whose slices are left out of training, as '[2,3]' (default '[]', setting 1)
  ALL_EV         folds, separated by spaces, or all (default "0 1 2 3 4")
  MODELNAME CLSNAME USEALIGN PROTO_GRID SUPERPIX_SCALE SUPP_ID N_PART NWORKER SEED
                 the settings of the same meaning in Stage2/training.py, validation.py, finetuning.py
  PROTOCOL       paper, clean or adnet (docs/protocols.md); of adnet, SUPP_ID is [2] unless it is set
  FOLD_SCHEME    disjoint or overlapping; EXCLUDE_RULE: any or all; CT_STATISTICS: training or volume
Testing
  VAL_WSIZE Z_MARGIN; SUPP_ID=all tests with each possible support scan in turn
Training and fine-tuning
  NSTEP LR DECAY MAX_ITER SNAPSHOT_INTERVAL PRINT_INTERVAL MIN_FG_DATA SCAN_PER_LOAD USE_WCE
Training
  USE_COCO_INIT USE_DENSECL_INIT PRETRAINED_BACKBONE
                 starting weights: COCO's, or those in the file PRETRAINED_BACKBONE (USE_DENSECL_INIT=False: neither)
Snapshot that test, finetune (of train) and finetune-test (of finetune) start from; the first of these that is set
  RELOAD         a file, for every fold; the word none: the untrained network
  SNAPSHOTS=all  test every snapshot of the fold's latest run, one run each
  SNAPSHOT_STEP  the one of this step, of the latest run that has it; "1000 2000": those of several, one run each
  SELECT         of the fold's latest run, last (default): its last; test: the one with the best test Dice, as published
                 (test all first: SNAPSHOTS=all); train_scans: the best on training scans (train with eval_every=STEPS)
Where
  DATA_DIR       processed folder
  LOGDIR         run folders go to LOGDIR/mySSL_<mode>_vfold<fold>_<data set>_sets_<label set>_1shot/<run id>
                 (default exps/<experiment>/<variant>, with _seed<SEED> appended for another seed than 1234)
  LOGS           console logs, one for each fold (default: as LOGDIR, with logs/ for exps/; elsewhere LOGDIR/logs)
  RUN_NAME       name that stands for <mode> in run folders and logs (default train, test, ft_train, ft_test)
How
  GPUS           GPUs to spread the folds over: "0 1 2 3" (default: one run after another on the default device)
  JOBS_PER_GPU   runs at a time on each, or in all without GPUS (default 1)
  LAUNCHER       local (default), or slurm: a job array with a task for each unfinished fold
  SBATCH_ARGS    further arguments of sbatch: "--partition=gpu --time=24:00:00" (each task asks for --gres=gpu:1 and
                 NWORKER + 1 cores, unless told otherwise); AT_A_TIME limits the tasks at a time
  DEVICE         auto (default), cpu or cuda
  PRECISION      fp32 (default), bf16 or fp16
  RESTART=1      also run what is finished, and resume nothing
  DRY_RUN=1      print the commands and run nothing
  PYTHON         interpreter (default: that of .venv, else python3)

Defaults are the published settings: examples/published_settings.bash.
TEXT
}

help_if_asked "$@"

[ $# -ge 1 ] || fail "expected a mode: train, test, finetune or finetune-test (see --help)"
MODE=$1
shift
case "$MODE" in
    train | test | finetune | finetune-test) ;;
    *) fail "mode '$MODE' is unknown; choose train, test, finetune or finetune-test" ;;
esac
for argument in "$@"; do
    [[ $argument == [a-z]*=* ]] || fail "'$argument' is not of the form key=value (see --help)"
    [[ $argument != protocol=* ]] || PROTOCOL=${argument#protocol=} # other settings go by it
done
# shellcheck source=examples/published_settings.bash
source "$ROOT/examples/published_settings.bash"
for variable in DATASET LABEL_SETS; do
    [ -n "${!variable:-}" ] || fail "$variable is not set; run one of the scripts in examples/<experiment>/ or set it"
done

if [ -z "${LOGDIR:-}" ]; then
    [ -n "${EXPERIMENT:-}" ] || fail "LOGDIR is not set; name the folder for the run folders"
    LOGDIR=$ROOT/exps/$EXPERIMENT/${VARIANT:-own}
    [ "$SEED" = 1234 ] || LOGDIR+=_seed$SEED
fi
if [ -z "${LOGS:-}" ]; then
    LOGS=$(realpath -m -- "$LOGDIR")
    case "$LOGS" in
        "$ROOT/exps/"*) LOGS=$ROOT/logs/${LOGS#"$ROOT/exps/"} ;;
        *) LOGS=$LOGS/logs ;;
    esac
fi

settings=(
    "modelname=$MODELNAME" "clsname=$CLSNAME" "usealign=$USEALIGN" "proto_grid_size=$PROTO_GRID"
    "dataset=$DATASET" "label_sets=$LABEL_SETS" "exclude_cls_list=$EXCLU" "superpix_scale=$SUPERPIX_SCALE"
    "support_idx=$SUPP_ID" "n_sup_part=$N_PART" "min_fg_data=$MIN_FG_DATA" "num_workers=$NWORKER" "seed=$SEED"
    "path.data_dir=$DATA_DIR" "path.log_dir=$LOGDIR"
    "device=${DEVICE:-auto}" "precision=${PRECISION:-fp32}"
)
# only what was asked for: a protocol brings the others along
[ -z "${PROTOCOL:-}" ] || settings+=("protocol=$PROTOCOL")
[ -z "${FOLD_SCHEME:-}" ] || settings+=("fold_scheme=$FOLD_SCHEME")
[ -z "${EXCLUDE_RULE:-}" ] || settings+=("exclude_rule=$EXCLUDE_RULE")
[ -z "${CT_STATISTICS:-}" ] || settings+=("ct_statistics=$CT_STATISTICS")
case "$MODE" in
    train | finetune)
        settings+=(
            "n_steps=$NSTEP" "optim.lr=$LR" "lr_step_gamma=$DECAY" "max_iters_per_load=$MAX_ITER"
            "save_snapshot_every=$SNAPSHOT_INTERVAL" "print_interval=$PRINT_INTERVAL"
            "scan_per_load=$SCAN_PER_LOAD" "use_wce=$USE_WCE"
        ) ;;
    *) settings+=("val_wsize=$VAL_WSIZE" "z_margin=$Z_MARGIN") ;;
esac
if [ "$MODE" = train ]; then
    settings+=("use_coco_init=$USE_COCO_INIT" "use_densecl_init=$USE_DENSECL_INIT")
    [ "$USE_DENSECL_INIT" != True ] || settings+=("pretrained_backbone=${PRETRAINED_BACKBONE:-None}")
else
    # the snapshot holds every weight: no starting weights are read
    settings+=("use_coco_init=False" "use_densecl_init=False")
fi

options=(--folds "$ALL_EV" --logs "$LOGS" --jobs-per-gpu "${JOBS_PER_GPU:-1}" --launcher "${LAUNCHER:-local}")
[ -z "${RUN_NAME:-}" ] || options+=(--run-name "$RUN_NAME")
[ -z "${GPUS:-}" ] || options+=(--gpus "$GPUS")
[ -z "${SBATCH_ARGS:-}" ] || options+=("--sbatch-args=$SBATCH_ARGS")
[ -z "${AT_A_TIME:-}" ] || options+=(--at-a-time "$AT_A_TIME")
[ "${RESTART:-0}" != 1 ] || options+=(--restart)
[ "${DRY_RUN:-0}" != 1 ] || options+=(--dry-run)
if [ -n "${RELOAD:-}" ]; then
    options+=(--reload "$RELOAD")
elif [ "${SNAPSHOTS:-}" = all ]; then
    options+=(--every-snapshot)
elif [ -n "${SNAPSHOTS:-}" ]; then
    fail "SNAPSHOTS=$SNAPSHOTS is not possible; SNAPSHOTS=all tests every snapshot, SNAPSHOT_STEP=N that of step N"
elif [ -n "${SNAPSHOT_STEP:-}" ]; then
    options+=(--steps "$SNAPSHOT_STEP")
elif [ -n "${SELECT:-}" ]; then
    options+=(--select "$SELECT")
fi

export PYTHONUNBUFFERED=1
exec "$(find_python)" "$ROOT/tools/run_folds.py" "${options[@]}" "$MODE" "${settings[@]}" "$@"
