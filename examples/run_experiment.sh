#!/usr/bin/env bash
# One Stage 2 experiment over its folds: the driver that every script under examples/ shares.
set -euo pipefail
# shellcheck source=examples/shared.bash
source "$(dirname -- "${BASH_SOURCE[0]}")/shared.bash"

usage() {
    cat <<'TEXT'
Usage: run_experiment.sh train|test|finetune|finetune-test|all [key=value ...]

Runs Stage 2 once for each fold: one after another, or spread over GPUs, a Ray cluster or Slurm. Runs that are finished
with the same settings are skipped, interrupted trainings go on where they stood, and the first failure stops everything
and shows the end of its log. The scripts in examples/<experiment>/<variant>/ say which experiment, and hand over to
this. "all" is the four modes as one graph: in each fold, one follows the other.

Every setting is an environment variable: NSTEP=200 ALL_EV="0 1" bash SCRIPT. Further key=value arguments go to the
entry point as they are (Stage2/runs/settings.py lists them) and win: bash SCRIPT print_interval=10. What is chosen for
each run (eval_fold, exp_prefix, reload_model_path, resume) is refused there.

Experiment
  DATASET        CHAOST2_Superpix (MR), SABS_Superpix (CT), or the .yaml file of your own (docs/datasets.md)
  LABEL_SETS     0 or 1: which organs are trained on and which are tested
  EXCLU          test classes whose slices are left out of training, as '[2,3]' (default '[]', setting 1)
  ALL_EV         folds, separated by spaces, or all (default "0 1 2 3 4")
  MODELNAME CLSNAME USEALIGN PROTO_GRID SUPERPIX_SCALE SUPP_ID N_PART NWORKER SEED
                 the settings of the same meaning in Stage2/training.py, validation.py, finetuning.py
  PROTOCOL       paper, clean or adnet (docs/protocols.md); of adnet, SUPP_ID is [2] unless it is set
  FOLD_SCHEME    disjoint or overlapping; EXCLUDE_RULE: any or all; CT_STATISTICS: training or volume
Several in one call
  EXPERIMENTS    where EXPERIMENT is not set (every script sets its own): "mri_ct_s1_l0 mri_ct_s2_l0"
  SEEDS          in place of SEED: "1 2 3"; where LOGDIR is set, each of several gets a folder of its own in it
  FT_NSTEP FT_LR FT_SNAPSHOT_INTERVAL
                 of the mode "all": what NSTEP, LR and SNAPSHOT_INTERVAL are for its training, for its fine-tuning. There,
                 SNAPSHOTS and VAL_WSIZE are for both tests, SELECT for the fine-tuning (SELECT=test tests all before)
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
  LAUNCHER       serial: one after another. ray: several at a time, as many as the machine, or the Ray cluster that
                 RAY_ADDRESS names, has places for. slurm: a job array with a task for each unfinished fold. ray and
                 slurm need bash tools/setup.sh --cluster (default: ray where GPUS names several or JOBS_PER_GPU is more
                 than 1, else serial; docs/cluster.md)
  GPUS           GPUs of this machine to use: "0 1 2 3" (default: all with ray, else the default device)
  JOBS_PER_GPU   runs at a time on each or, without GPUs, on each machine (default 1)
  SBATCH_ARGS    further arguments of sbatch: "--partition=gpu --time=24:00:00" (each task asks for --gres=gpu:1,
                 NWORKER + 1 cores and 24 hours, unless told otherwise); AT_A_TIME limits the tasks at a time
  DEVICE         auto (default), cpu or cuda
  PRECISION      fp32 (default), bf16 or fp16
  RESTART=1      also run what is finished, and resume nothing
  DRY_RUN=1      print the graph of the commands and run nothing
  PYTHON         interpreter (default: that of .venv, else python3)

Defaults are the published settings: examples/published_settings.bash.
TEXT
}

help_if_asked "$@"

check_switches DRY_RUN RESTART
[ $# -ge 1 ] || fail "expected a mode: train, test, finetune, finetune-test or all (see --help)"
MODE=$1
shift
case "$MODE" in
    train | test | finetune | finetune-test) modes=("$MODE") ;;
    all) modes=(train test finetune finetune-test) ;;
    *) fail "mode '$MODE' is unknown; choose train, test, finetune, finetune-test or all" ;;
esac
if [ "$MODE" = all ]; then
    for variable in RELOAD SNAPSHOT_STEP RUN_NAME; do
        [ -z "${!variable:-}" ] || fail "$variable is for one mode; leave it out, or run the modes one by one"
    done
fi
for argument in "$@"; do
    [[ $argument == [a-z]*=* ]] || fail "'$argument' is not of the form key=value (see --help)"
    [[ $argument != protocol=* ]] || PROTOCOL=${argument#protocol=} # other settings go by it
done
if [ -n "${EXPERIMENT:-}" ] && [ -n "${EXPERIMENTS:-}" ]; then # of a script, say, after a graph of several
    [ "$EXPERIMENTS" = "$EXPERIMENT" ] ||
        echo "${0##*/}: this is $EXPERIMENT alone; EXPERIMENTS=$EXPERIMENTS counts where EXPERIMENT is not set" >&2
fi
read -r -a experiments <<<"${EXPERIMENT:-${EXPERIMENTS:-}}"
read -r -a seeds <<<"${SEEDS:-${SEED:-}}"
[ ${#experiments[@]} -gt 0 ] || experiments=("")
[ ${#seeds[@]} -gt 0 ] || seeds=("")

# Prints the words of tools/run_folds.py for one mode of one experiment, quoted: what is set here is set for it alone.
words_of() (
    MODE=$1 EXPERIMENT=$2 SEED=$3
    shift 3
    if [ ${#modes[@]} -gt 1 ]; then
        case "$MODE" in
            test)
                unset TESTED_STEPS
                [ "${SELECT:-}" != test ] || SNAPSHOTS=all
                ;;
            finetune) NSTEP=${FT_NSTEP:-} LR=${FT_LR:-} SNAPSHOT_INTERVAL=${FT_SNAPSHOT_INTERVAL:-} ;;
        esac
        case "$MODE" in
            finetune) unset SNAPSHOTS ;;
            *) unset SELECT ;;
        esac
    fi
    # shellcheck source=examples/published_settings.bash
    source "$ROOT/examples/published_settings.bash"
    for variable in DATASET LABEL_SETS; do
        [ -n "${!variable:-}" ] || fail "$variable is not set; run one of the scripts in examples/<experiment>/ or set it"
    done

    own="" # part of the folders' names where there are several experiments or seeds
    [ ${#experiments[@]} = 1 ] || own+=/$EXPERIMENT
    [ ${#seeds[@]} = 1 ] || own+=/seed$SEED
    if [ -n "${LOGDIR:-}" ]; then
        LOGDIR+=$own
    else
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
    else
        LOGS+=$own
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
    label="${own:+${own#/}, }$MODE "
    [ "${#modes[@]}$own" = 1 ] || options+=(--label "$label")
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
    printf '%q ' "${options[@]}" "$MODE" "${settings[@]}" "$@"
)

words=()
for experiment in "${experiments[@]}"; do
    for seed in "${seeds[@]}"; do
        for mode in "${modes[@]}"; do
            quoted=$(words_of "$mode" "$experiment" "$seed" "$@") || exit
            [ ${#words[@]} = 0 ] || words+=(--and)
            eval "words+=($quoted)"
        done
    done
done
export PYTHONUNBUFFERED=1
exec "$(find_python)" "$ROOT/tools/run_folds.py" "${words[@]}"
