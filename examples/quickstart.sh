#!/usr/bin/env bash
# The whole road on one machine: Stage 1, backbone weights, Stage 2, testing, fine-tuning, testing, table and figures.
set -euo pipefail
here=$(dirname -- "${BASH_SOURCE[0]}")
# shellcheck source=examples/shared.bash
source "$here/shared.bash"
# shellcheck source=examples/steps.bash
source "$here/steps.bash"

usage() {
    cat <<'TEXT'
Usage: bash examples/quickstart.sh [options]

Walks the whole method and ends with a table of Dice (organ x untrained, after training, after fine-tuning) and two
figures. Without options it makes a demo cohort of phantom MR scans and radiograph-like images, as they would be
downloaded, prepares them as real ones, and needs under ten minutes on two cores (the first run also installs the
packages into .venv).

Input
  --radiographs DIR       images for Stage 1: .jpg, .jpeg, .png, in one folder (default: the demo's)
  --data DIR              processed folder with image_<id>.nii.gz and label_<id>.nii.gz (default: the demo's); it may
                          be read-only; superpixels and class maps that it has are used, others are made in a folder
                          below data/quickstart
  --dataset CHAOST2|SABS  what the processed folder is: MR of 20 scans or CT of 30 (default CHAOST2); or the .yaml
                          file of your own data set (docs/datasets.md), with --data
Experiment
  --fold K                fold that is tested, 0 to 4 (default 0)
  --label-set L           0: kidneys are tested, 1: liver and spleen (default 0)
  --model NAME            dlfcn_res18, dlfcn_res50 or dlfcn_res101 (default dlfcn_res18)
  --pretrain-epochs N     epochs of Stage 1 (default 3)
  --steps N               steps of Stage 2 (default 200)
  --finetune-steps N      steps of fine-tuning (default 50)
  --precision fp32|bf16   of the encoders (default fp32; bf16 is faster on GPUs and CPUs with bfloat16 units)
  --device auto|cpu|cuda  of Stage 2 (default auto)
Run
  --out DIR               where everything goes (default exps/quickstart)
  --restart               begin anew; without it, steps that are finished with the same options are not repeated, and
                          an interrupted training goes on where it stood
  --dry-run               print the commands of the steps and run nothing
  -h, --help              this text

Made below --out: results.csv, results.md, losses.png, segmentation.png, stage1/, backbone.pth, runs/.

Settings are the published ones of examples/mri_ct_s1_l0, except for what makes it short:
  Stage 1  the demo config (small images, batch and queues) instead of 50 epochs of the ROCO config, no ImageNet start
  Stage 2  ResNet-18 instead of ResNet-101; --steps instead of 100,100; --finetune-steps instead of 5,100; one fold;
           weights in channels-last layout (faster, the same but for rounding);
           in fine-tuning the annotated organs take turns every quarter of its steps instead of every 1,000
Learning rates (1e-3; fine-tuning 1e-4), their decay and everything else are as published.
TEXT
}

help_if_asked "$@"
PYTHON=$ROOT/.venv/bin/python
STAGE1_CONFIG=$ROOT/configs/selfsup/densecl/densecl_demo.py
STAGE1_BATCH=32
N_STEPS=12

radiographs='' data='' dataset=CHAOST2 fold=0 label_set=0 model=dlfcn_res18 pretrain_epochs=3 steps=200
finetune_steps=50 precision=fp32 device=auto out=$ROOT/exps/quickstart restart=0 dry_run=0

while [ $# -gt 0 ]; do
    case "$1" in
        --restart) restart=1 && shift ;;
        --dry-run) dry_run=1 && shift ;;
        --radiographs | --data | --dataset | --fold | --label-set | --model | --pretrain-epochs | --steps | \
            --finetune-steps | --precision | --device | --out)
            set_option "$@"
            shift 2
            ;;
        *) fail "option '$1' is unknown (see --help)" ;;
    esac
done

# --- checks: whatever is wrong with the options is said before anything starts ---

case "$dataset" in
    *.yaml | *.yml) # its folds and label sets are checked with its scans
        [ -f "$dataset" ] || fail "--dataset $dataset does not exist; name a data set file (docs/datasets.md)"
        [ -n "$data" ] || fail "--dataset $dataset needs --data, its processed folder"
        [[ $fold$label_set =~ ^[0-9]{1,6}$ ]] ||
            fail "--fold $fold --label-set $label_set is not possible; give numbers"
        dataset=$(cd "$(dirname "$dataset")" && pwd)/$(basename "$dataset")
        dataset_file=$dataset dataset_setting=$dataset
        ;;
    *)
        check_choice --dataset "$dataset" CHAOST2 SABS
        check_choice --fold "$fold" 0 1 2 3 4
        check_choice --label-set "$label_set" 0 1
        dataset_file='' dataset_setting=${dataset}_Superpix
        ;;
esac
check_choice --model "$model" dlfcn_res18 dlfcn_res50 dlfcn_res101
check_choice --precision "$precision" fp32 bf16
check_choice --device "$device" auto cpu cuda
check_count --pretrain-epochs "$pretrain_epochs"
check_count --steps "$steps"
check_count --finetune-steps "$finetune_steps"
if [ -n "$radiographs" ]; then
    check_folder --radiographs "$radiographs"
    images=$(count_files "$radiographs" '*.jpg' '*.jpeg' '*.png')
    [ "$images" -ge "$STAGE1_BATCH" ] ||
        fail "--radiographs $radiographs holds $images images; expected $STAGE1_BATCH .jpg, .jpeg or .png files or more"
    radiographs=$(cd "$radiographs" && pwd)
fi
if [ -n "$data" ]; then
    check_folder --data "$data"
    images=$(count_files "$data" 'image_*.nii.gz')
    labels=$(count_files "$data" 'label_*.nii.gz')
    [ "$images" -gt 0 ] || fail "--data $data holds no image_<id>.nii.gz; expected a processed folder"
    [ "$images" -eq "$labels" ] ||
        fail "--data $data holds $images image_<id>.nii.gz but $labels label_<id>.nii.gz; expected one label for each"
    data=$(cd "$data" && pwd)
fi
if [ -e "$out" ]; then
    [ -d "$out" ] || fail "--out $out is not a folder; name a folder, which is made if it does not exist"
    [ -w "$out" ] || fail "--out $out cannot be written to; name another folder"
fi

# The command of the superpixels, then a check of the folder that they are in.
superpixels_and_check() {
    show_or_run "$@"
    show_or_run "${prepare[@]}" check "$prepared" --dataset "$dataset"
}

if [ "$dry_run" = 0 ]; then
    mkdir -p "$out" || fail "--out $out cannot be made; name another folder"
    out=$(cd "$out" && pwd)
    if [ "$restart" = 1 ]; then
        rm -rf "$out/.steps" "$out/stage1" "$out/runs" "$out/backbone.pth"
    fi
    mkdir -p "$out/.steps"
fi

heading "Environment"
if [ "$dry_run" = 1 ]; then
    printf 'bash %q\n' "$ROOT/tools/setup.sh"
else
    bash "$ROOT/tools/setup.sh"
    echo "using $("$PYTHON" --version) in $ROOT/.venv"
fi

# --- input ---

# Says which scans of the processed folder play which role, or what is wrong with their number.
show_fold() {
    [ "$dry_run" = 0 ] || return 0
    "$PYTHON" - "$1" "$dataset" "$fold" "$label_set" <<'PYTHON' || exit 2
import sys
from pathlib import Path

from Stage2.datasets.catalog import get_dataset
from Stage2.datasets.folds import split_fold
from Stage2.datasets.volumes import list_scans

try:
    folder, name, fold, label_set = sys.argv[1:]
    data_set = get_dataset(name)
    data_set.test_labels(int(label_set))
    scans = split_fold(list_scans(Path(folder)), data_set, int(fold))
except (OSError, ValueError) as error:
    sys.exit(f"quickstart.sh: --data {sys.argv[1]}: {error}")
tested = ", ".join(scans.test)
print(f"{data_set.name}, fold {fold}: {len(scans.train)} training scans, tested {tested}, support {scans.support[0]}")
PYTHON
    echo "scans: $1"
}

prepare=("$PYTHON" "$ROOT/tools/prepare_data.py")
demo=$ROOT/data/demo
demo_parts=()
kind='' own_radiographs=$radiographs before=''
if [ -z "$data" ]; then
    kind=chaos archive=CHAOS/CHAOS_Train_Sets.zip
    [ "$dataset" = CHAOST2 ] || kind=sabs archive=SABS/RawData.zip
    demo_parts+=("$kind")
    prepared=$demo/prepared/$kind
else
    # superpixels are made beside the project's own folders only: other people's data is never written to
    case "$data/" in
        "$ROOT/data/"*) prepared=$data ;;
        *) prepared=$ROOT/data/quickstart/$(basename "$data")-$(printf '%s' "$data" | cksum | cut -d ' ' -f 1) ;;
    esac
fi
if [ -z "$radiographs" ]; then
    demo_parts+=(roco)
    radiographs=$demo/prepared/roco
fi
if [ ${#demo_parts[@]} -gt 0 ]; then
    step demo "Demo data, as downloaded" "" "$demo" \
        "$PYTHON" "$ROOT/tools/make_demo_data.py" "$demo" --only "$(IFS=,; echo "${demo_parts[*]}")"
    before=demo
else
    heading "Your data"
fi
[ -n "$kind" ] || show_fold "$data"

# Phantoms are prepared from their raw files, as a download of CHAOS, Synapse or ROCO is.
if [ -z "$own_radiographs" ]; then
    step radiographs "Images for Stage 1: whole ones in one folder" "$before" "$radiographs/roco.json" \
        "${prepare[@]}" roco "$demo/ROCO" "$radiographs"
else
    heading "Your images for Stage 1"
fi
[ "$dry_run" = 1 ] || echo "images: $radiographs ($(count_files "$radiographs" '*.jpg' '*.jpeg' '*.png'))"
if [ -n "$kind" ]; then
    step scans "Scans: converted, normalised, superpixels, class maps, checked" "$before" "$prepared/classmap_1.json" \
        "${prepare[@]}" "$kind" "$demo/$archive" "$prepared"
    show_fold "$prepared"
else
    superpixels=("${prepare[@]}" superpixels "$data" --dataset "$dataset")
    [ "$prepared" = "$data" ] || superpixels+=(--out "$prepared")
    watched=$data watched_file=$dataset_file step scans "Scans: superpixels, foreground masks, class maps, checked" \
        "$before" "$prepared/classmap_1.json" superpixels_and_check "${superpixels[@]}"
fi

# --- Stage 1 ---

watched=$radiographs emptied=$out/stage1 when_resumed=--auto-resume step pretrain \
    "Stage 1: dense contrastive pre-training ($pretrain_epochs epochs)" "$before" \
    "$out/stage1/epoch_$pretrain_epochs.pth" \
    bash "$ROOT/tools/single_train.sh" "$STAGE1_CONFIG" --work_dir "$out/stage1" --cfg-options \
    "data_root=$radiographs" "max_epochs=$pretrain_epochs" "depth=${model#dlfcn_res}" "batch_size=$STAGE1_BATCH" \
    "precision=$precision" default_hooks.checkpoint.interval=1
step extract "Backbone weights for Stage 2" pretrain "$out/backbone.pth" \
    "$PYTHON" "$ROOT/tools/extract_backbone_weights.py" "$out/stage1/epoch_$pretrain_epochs.pth" "$out/backbone.pth"

# --- Stage 2, through the driver that all experiments share; the settings are its variables ---

driver=$ROOT/examples/run_experiment.sh
common=(DATASET="$dataset_setting" LABEL_SETS="$label_set" EXCLU='[]' ALL_EV="$fold" SEED=1234 SUPP_ID='[-1]' N_PART=3
    SUPERPIX_SCALE=MIDDLE NWORKER=2 MODELNAME="$model" CLSNAME=grid_proto PROTO_GRID=8 USEALIGN=True
    DATA_DIR="$prepared" LOGDIR="$out/runs" DEVICE="$device" PRECISION="$precision")
optimisation=(DECAY=0.95 MAX_ITER=1000 PRINT_INTERVAL=10 SCAN_PER_LOAD=-1 MIN_FG_DATA=1 USE_WCE=True)
testing=(VAL_WSIZE=2 Z_MARGIN=0)

# Experiment folders, one a line: named in one place, by the code that reads them.
experiment_folders() {
    "$PYTHON" - "$out/runs" "$fold" "$dataset_setting" "$label_set" "$@" <<'PYTHON'
import sys

from Stage2.datasets.catalog import run_name
from Stage2.run_folders.layout import experiment_folder

log_dir, fold, dataset, label_set, *names = sys.argv[1:]
print(*(experiment_folder(log_dir, f"{name}_vfold{fold}", run_name(dataset), label_set) for name in names), sep="\n")
PYTHON
}
names=(untrained train test ft_train ft_test)
folders=("${names[@]/%/ runs}")
[ "$dry_run" = 1 ] || mapfile -t folders < <(experiment_folders "${names[@]}")
untrained=${folders[0]} trained=${folders[1]} tested=${folders[2]}
finetuned=${folders[3]} finetuned_tested=${folders[4]}

step untrained "Testing the untrained network (random weights)" scans "$untrained" \
    env "${common[@]}" "${testing[@]}" RUN_NAME=untrained RELOAD=none bash "$driver" test channels_last=True
step train "Stage 2: training on superpixels ($steps steps)" "scans extract" "$trained" \
    env "${common[@]}" "${optimisation[@]}" USE_COCO_INIT=False USE_DENSECL_INIT=True \
    PRETRAINED_BACKBONE="$out/backbone.pth" NSTEP="$steps" LR=1e-3 SNAPSHOT_INTERVAL=$(((steps + 3) / 4)) \
    bash "$driver" train channels_last=True
step test "Testing after training" train "$tested" \
    env "${common[@]}" "${testing[@]}" bash "$driver" test channels_last=True
step finetune "Fine-tuning with annotated training organs ($finetune_steps steps)" train "$finetuned" \
    env "${common[@]}" "${optimisation[@]}" MAX_ITER=$(((finetune_steps + 3) / 4)) NSTEP="$finetune_steps" LR=1e-4 \
    SNAPSHOT_INTERVAL=$(((finetune_steps + 3) / 4)) bash "$driver" finetune channels_last=True
step finetune-test "Testing after fine-tuning" finetune "$finetuned_tested" \
    env "${common[@]}" "${testing[@]}" bash "$driver" finetune-test channels_last=True

# --- what it came to ---

heading "Results"
show_or_run "$PYTHON" "$ROOT/tools/collect_results.py" "$out/runs" --out "$out" --compare \
    "untrained=$untrained" "after training=$tested" "after fine-tuning=$finetuned_tested"
show_or_run "$PYTHON" "$ROOT/tools/visualize.py" losses --stage1 "$out/stage1" "Stage 2: training=$trained" \
    "Stage 2: fine-tuning=$finetuned" --out "$out/losses.png"
show_or_run "$PYTHON" "$ROOT/tools/visualize.py" segmentation "untrained=$untrained" "after training=$tested" \
    "after fine-tuning=$finetuned_tested" --data "$prepared" --out "$out/segmentation.png"
[ "$dry_run" = 1 ] || printf '\nFinished in %s. Everything is in %s\n' "$(elapsed)" "$out"
