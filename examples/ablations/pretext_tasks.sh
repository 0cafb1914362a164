#!/usr/bin/env bash
# Pretext tasks: each pre-trains a backbone on the same images; fine-tuning and a probe tell what it is worth.
set -euo pipefail
here=$(dirname -- "${BASH_SOURCE[0]}")/..
# shellcheck source=examples/shared.bash
source "$here/shared.bash"
# shellcheck source=examples/steps.bash
source "$here/steps.bash"

usage() {
    cat <<'TEXT'
Usage: bash examples/ablations/pretext_tasks.sh --radiographs DIR --data DIR [options]

Pre-trains a backbone by each pretext task, extracts it, fine-tunes Stage 2 from it without training on superpixels (as
published for SimCLR, SimMIM and MAE), and tests. Ends with a table of Dice, and one of a probe of frozen features.
An untrained network takes the same road. A run that is interrupted goes on where it stopped.

Input
  --radiographs DIR       images for Stage 1, in one folder
  --data DIR              processed folder, prepared with superpixels (tools/prepare_data.py)
  --dataset CHAOST2|SABS  what it is (default CHAOST2); or the .yaml file of your own data set
Experiment
  --recipes demo|roco     demo (default): small networks, minutes on a CPU; roco: the published recipes
  --tasks "T[:N] ..."     of densecl, mocov2, simclr, simmim, mae, random, each for N epochs (default: all but mocov2,
                          for the epochs of their recipes); epochs differ in cost, so equal times need different N
  --folds "K ..."         (default 0)
  --label-set L           (default 0)
  --finetune-steps N      (default 100 with demo, 5100 with roco)
  --workers N             of every data loader (default 2)
Run
  --out DIR               where everything goes (default exps/ablations/pretext_tasks)
  --dry-run               print the commands and run nothing
  -h, --help              this text

Made below --out: results.md, results.csv, features_fold<K>.json, and for every task stage1/, backbone.pth and its runs.
The table of the probe is printed.
TEXT
}

help_if_asked "$@"
radiographs='' data='' dataset=CHAOST2 recipes=demo tasks='densecl simclr simmim mae random' folds=0 label_set=0
finetune_steps='' workers=2 out=$ROOT/exps/ablations/pretext_tasks dry_run=0
while [ $# -gt 0 ]; do
    case "$1" in
        --dry-run) dry_run=1 && shift ;;
        --radiographs | --data | --dataset | --recipes | --tasks | --folds | --label-set | --finetune-steps | \
            --workers | --out)
            set_option "$@"
            shift 2
            ;;
        *) fail "option '$1' is unknown (see --help)" ;;
    esac
done

check_choice --recipes "$recipes" demo roco
[ -n "$radiographs" ] || fail "--radiographs is missing; name the folder of images for Stage 1"
[ -n "$data" ] || fail "--data is missing; name a processed folder"
check_folder --radiographs "$radiographs"
check_folder --data "$data"
[ "$(count_files "$data" 'image_*.nii.gz')" -gt 0 ] ||
    fail "--data $data holds no image_<id>.nii.gz; expected a processed folder"
case "$dataset" in
    *.yaml | *.yml)
        [ -f "$dataset" ] || fail "--dataset $dataset does not exist; name a data set file (docs/datasets.md)"
        dataset_setting=$dataset
        ;;
    *)
        check_choice --dataset "$dataset" CHAOST2 SABS
        dataset_setting=${dataset}_Superpix
        ;;
esac
if [ "$recipes" = demo ]; then
    suffix=demo
    : "${finetune_steps:=100}"
    declare -A encoders=([densecl]=dlfcn_res18 [mocov2]=dlfcn_res18 [simclr]=dlfcn_res18 [simmim]=dlfcn_swin_tiny_mmcv
        [mae]=dlfcn_vit_tiny_mmcv [random]=dlfcn_res18)
else
    suffix=roco_50ep
    : "${finetune_steps:=5100}"
    declare -A encoders=([densecl]=dlfcn_res101 [mocov2]=dlfcn_res101 [simclr]=dlfcn_res50_mmcv
        [simmim]=dlfcn_swin_mmcv [mae]=dlfcn_vit_mmcv [random]=dlfcn_res101)
fi
check_count --finetune-steps "$finetune_steps"
check_count --workers "$workers"
read -r -a tasks <<<"$tasks"
read -r -a folds <<<"$folds"
for task in "${tasks[@]}"; do
    check_choice --tasks "${task%%:*}" "${!encoders[@]}"
    case "$task" in
        random:*) fail "--tasks $task is not possible; random has no epochs" ;;
        *:*) check_count "--tasks $task: its epochs" "${task#*:}" ;;
    esac
done
for fold in "${folds[@]}"; do
    [[ $fold =~ ^[0-9]{1,6}$ ]] || fail "--folds $fold is not possible; give numbers"
done
python=$(find_python)
if [ "$dry_run" = 0 ]; then
    mkdir -p "$out/.steps" || fail "--out $out cannot be made; name another folder"
    out=$(cd "$out" && pwd)
fi
N_STEPS=$((4 * ${#tasks[@]} + 1 + ${#folds[@]}))
[[ " ${tasks[*]} " != *" random "* ]] || N_STEPS=$((N_STEPS - 1))

# The last checkpoint of a task's Stage 1, under one name.
pretrain() {
    local folder=$1 epochs
    shift
    show_or_run "$@"
    [ "$dry_run" = 0 ] || return 0
    epochs=$(find "$folder" -maxdepth 1 -name 'epoch_*.pth' -printf '%f\n' | sort -V | tail -n 1)
    [ -n "$epochs" ] || fail "Stage 1 left no checkpoint in $folder"
    ln -sf "$epochs" "$folder/last.pth"
}

# untrained DEPTH FILE: a ResNet as it is made.
untrained() {
    show_or_run "$python" -c 'import sys
import torch
from Stage1.models.backbone import ResNetC5
from Stage1.weights.checkpoints import write_checkpoint
torch.manual_seed(0)
write_checkpoint({"state_dict": ResNetC5(int(sys.argv[1])).state_dict()}, sys.argv[2])' "$@"
}

# drive MODE TASK VARIABLE=value ...: a step of Stage 2.
drive() {
    local mode=$1 task=$2 run=()
    shift 2
    [ "$dry_run" = 0 ] || run=(DRY_RUN=1)
    env "${run[@]}" "DATASET=$dataset_setting" "LABEL_SETS=$label_set" "ALL_EV=${folds[*]}" "DATA_DIR=$data" \
        "LOGDIR=$out/$task" "LOGS=$out/$task/logs" "MODELNAME=${encoders[$task]}" "NWORKER=$workers" "$@" \
        bash "$ROOT/examples/run_experiment.sh" "$mode"
}

judged=()
for entry in "${tasks[@]}"; do
    task=${entry%%:*}
    folder=$out/$task reload=$out/$task/backbone.pth before=extract_$task
    changes=("data_root=$radiographs" "num_workers=$workers")
    [ "$entry" = "$task" ] || changes+=("max_epochs=${entry#*:}")
    judged+=("$reload")
    if [ "$task" = random ]; then
        step "extract_$task" "$task: backbone" "" "$reload" untrained "${encoders[random]#dlfcn_res}" "$reload"
    else
        watched=$radiographs emptied=$folder/stage1 when_resumed='' step "pretrain_$task" "$entry: Stage 1" "" \
            "$folder/stage1/last.pth" pretrain "$folder/stage1" bash "$ROOT/tools/single_train.sh" \
            "$ROOT/configs/selfsup/$task/${task}_$suffix.py" --work_dir "$folder/stage1" --auto-resume \
            --cfg-options "${changes[@]}"
        step "extract_$task" "$task: backbone" "pretrain_$task" "$reload" \
            "$python" "$ROOT/tools/extract_backbone_weights.py" "$folder/stage1/last.pth" "$reload"
    fi
    step "finetune_$task" "$task: fine-tuning, without training" "$before" "$folder" drive finetune "$task" \
        "RELOAD=$reload" "NSTEP=$finetune_steps" "SNAPSHOT_INTERVAL=$finetune_steps" \
        "MAX_ITER=$((finetune_steps < 1000 ? (finetune_steps + 3) / 4 : 1000))"
    step "test_$task" "$task: test" "finetune_$task" "$folder" drive finetune-test "$task"
done
tested=("${tasks[@]%%:*}")
step table "Table" "${tested[*]/#/test_}" "$out/results.md" \
    "$python" "$ROOT/tools/collect_results.py" "$out" --out "$out"
for fold in "${folds[@]}"; do
    step "probe_$fold" "Probe of frozen features, fold $fold" "${tested[*]/#/test_}" "$out/features_fold$fold.json" \
        "$python" "$ROOT/tools/evaluate_features.py" "${judged[@]}" --data "$data" --dataset "$dataset" \
        --fold "$fold" --out "$out/features_fold$fold.json"
done
