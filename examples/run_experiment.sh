#!/usr/bin/env bash
# One Stage 2 experiment over its folds: the driver that every script under examples/ shares.
set -euo pipefail

usage() {
    cat <<'TEXT'
Usage: run_experiment.sh train|test|finetune|finetune-test [key=value ...]

Runs Stage 2 once per fold and stops at the first failure. The experiment is told by environment variables; the
scripts next to this one set them all and hand over. Further key=value arguments go to the entry point as they are,
after those of the experiment, so they win: `bash SCRIPT print_interval=10`.

Experiment (always needed)
  DATASET        CHAOST2_Superpix (MR), SABS_Superpix (CT), or the .yaml file of your own (docs/datasets.md)
  LABEL_SETS     0 or 1: which organs are trained on and which are tested
  EXCLU          test classes whose slices are left out of training, as '[2,3]' ('[]' in setting 1)
  ALL_EV         folds, separated by spaces: "0 1 2 3 4"
  MODELNAME CLSNAME USEALIGN PROTO_GRID SUPERPIX_SCALE SUPP_ID N_PART NWORKER SEED
                 the settings of the same meaning in Stage2/training.py, validation.py, finetuning.py
Testing
  VAL_WSIZE Z_MARGIN
Training and fine-tuning
  NSTEP LR DECAY MAX_ITER SNAPSHOT_INTERVAL PRINT_INTERVAL MIN_FG_DATA SCAN_PER_LOAD USE_WCE
Training
  USE_COCO_INIT USE_DENSECL_INIT PRETRAINED_BACKBONE
                 starting weights of the encoder (PRETRAINED_BACKBONE: Stage 1's extracted backbone file)
Where
  DATA_DIR       processed folder
  LOGDIR         run folders go to LOGDIR/mySSL_<mode>_vfold<fold>_<data set>_sets_<label set>_1shot/<run id>
Optional
  RELOAD         snapshot to test or fine-tune, for every fold; the word none: test the untrained network
  SNAPSHOT_STEP  take this step of the fold's latest run that has it (default: its last snapshot)
  SELECT         last (default), or train_scans: the snapshot of that run that did best on training scans (eval_every)
  RUN_NAME       name that stands for <mode> in the run folder
  DEVICE         auto (default), cpu or cuda
  PRECISION      fp32 (default), bf16 or fp16
  DRY_RUN=1      print the commands and run nothing

test and finetune start from the fold's latest training snapshot, finetune-test from its latest fine-tuned one.
TEXT
}

fail() {
    echo "run_experiment.sh: $*" >&2
    exit 2
}

for argument in "$@"; do
    case "$argument" in
        -h | --help)
            usage
            exit 0
            ;;
    esac
done

[ $# -ge 1 ] || fail "expected a mode: train, test, finetune or finetune-test (see --help)"
MODE=$1
shift
for argument in "$@"; do
    [[ $argument == [a-z]*=* ]] || fail "'$argument' is not of the form key=value (see --help)"
done

ROOT=$(cd -P "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
PYTHON=python3
[ ! -x "$ROOT/.venv/bin/python" ] || PYTHON=$ROOT/.venv/bin/python
export PYTHONUNBUFFERED=1

case "$MODE" in
    train) ENTRY=training.py NAME=train SOURCE='' ;;
    test) ENTRY=validation.py NAME=test SOURCE=train ;;
    finetune) ENTRY=finetuning.py NAME=ft_train SOURCE=train ;;
    finetune-test) ENTRY=validation.py NAME=ft_test SOURCE=ft_train ;;
    *) fail "mode '$MODE' is unknown; choose train, test, finetune or finetune-test" ;;
esac
NAME=${RUN_NAME:-$NAME}

needed=(DATASET LABEL_SETS EXCLU ALL_EV MODELNAME CLSNAME USEALIGN PROTO_GRID SUPERPIX_SCALE SUPP_ID N_PART NWORKER SEED
    DATA_DIR LOGDIR)
case "$MODE" in
    train | finetune)
        needed+=(NSTEP LR DECAY MAX_ITER SNAPSHOT_INTERVAL PRINT_INTERVAL MIN_FG_DATA SCAN_PER_LOAD USE_WCE) ;;
    *) needed+=(VAL_WSIZE Z_MARGIN) ;;
esac
[ "$MODE" != train ] || needed+=(USE_COCO_INIT USE_DENSECL_INIT PRETRAINED_BACKBONE)
for variable in "${needed[@]}"; do
    [ -n "${!variable:-}" ] || fail "$variable is not set; run one of the scripts in examples/<experiment>/ or set it"
done

settings=(
    "modelname=$MODELNAME" "clsname=$CLSNAME" "usealign=$USEALIGN" "proto_grid_size=$PROTO_GRID"
    "dataset=$DATASET" "label_sets=$LABEL_SETS" "exclude_cls_list=$EXCLU" "superpix_scale=$SUPERPIX_SCALE"
    "support_idx=$SUPP_ID" "n_sup_part=$N_PART" "num_workers=$NWORKER" "seed=$SEED"
    "path.data_dir=$DATA_DIR" "path.log_dir=$LOGDIR"
    "device=${DEVICE:-auto}" "precision=${PRECISION:-fp32}"
)
case "$MODE" in
    train | finetune)
        settings+=(
            "n_steps=$NSTEP" "optim.lr=$LR" "lr_step_gamma=$DECAY" "max_iters_per_load=$MAX_ITER"
            "save_snapshot_every=$SNAPSHOT_INTERVAL" "print_interval=$PRINT_INTERVAL"
            "min_fg_data=$MIN_FG_DATA" "scan_per_load=$SCAN_PER_LOAD" "use_wce=$USE_WCE"
        ) ;;
    *) settings+=("val_wsize=$VAL_WSIZE" "z_margin=$Z_MARGIN") ;;
esac
if [ "$MODE" = train ]; then
    settings+=("use_coco_init=$USE_COCO_INIT" "use_densecl_init=$USE_DENSECL_INIT")
    [ "$USE_DENSECL_INIT" != True ] || settings+=("pretrained_backbone=$PRETRAINED_BACKBONE")
else
    # the snapshot holds every weight: no starting weights are read
    settings+=("use_coco_init=False" "use_densecl_init=False")
fi

# The snapshot that a fold starts from: RELOAD, or one of the run folders of SOURCE.
find_snapshot() {
    local fold=$1
    if [ -n "${RELOAD:-}" ]; then
        echo "$RELOAD"
        return
    fi
    local query=(--log-dir "$LOGDIR" --exp-prefix "${SOURCE}_vfold$fold" --dataset "$DATASET" --label-sets "$LABEL_SETS")
    [ -z "${SNAPSHOT_STEP:-}" ] || query+=(--step "$SNAPSHOT_STEP")
    [ -z "${SELECT:-}" ] || query+=(--select "$SELECT")
    if [ "${DRY_RUN:-0}" = 1 ]; then
        "$PYTHON" "$ROOT/tools/find_snapshot.py" "${query[@]}" 2>/dev/null || echo "<$SOURCE snapshot of fold $fold>"
    else
        "$PYTHON" "$ROOT/tools/find_snapshot.py" "${query[@]}"
    fi
}

read -r -a folds <<<"$ALL_EV"
for fold in "${folds[@]}"; do
    command=("$PYTHON" "$ROOT/Stage2/$ENTRY" with "${settings[@]}" "exp_prefix=${NAME}_vfold$fold" "eval_fold=$fold")
    start='random starting weights'
    [ "${USE_COCO_INIT:-False}" != True ] || start='COCO starting weights'
    [ "${USE_DENSECL_INIT:-False}" != True ] || start="starting weights ${PRETRAINED_BACKBONE:-}"
    if [ -n "$SOURCE" ]; then
        snapshot=$(find_snapshot "$fold")
        if [ "$snapshot" = none ]; then
            start='untrained network'
        else
            start="snapshot $snapshot"
            command+=("reload_model_path=$snapshot")
        fi
    fi
    command+=("$@")
    echo "[$MODE] $DATASET, label set $LABEL_SETS, fold $fold: $start"
    if [ "${DRY_RUN:-0}" = 1 ]; then
        printf '%q ' "${command[@]}"
        echo
    else
        "${command[@]}"
    fi
done
