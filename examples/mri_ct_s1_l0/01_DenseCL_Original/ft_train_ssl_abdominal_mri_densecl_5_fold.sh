#!/usr/bin/env bash
# Fine-tune the trained networks, five folds: MRI (CHAOS T2-SPIR), starting from DenseCL on ImageNet, without Stage 1.
# Every setting can be given from the environment: ALL_EV="0" bash THIS_SCRIPT; --help tells the rest.
set -euo pipefail
export EXPERIMENT=mri_ct_s1_l0 VARIANT=01_DenseCL_Original
export DATASET="${DATASET:-CHAOST2_Superpix}"
export LABEL_SETS="${LABEL_SETS:-0}"  # kidneys are tested
export EXCLU="${EXCLU:-[]}"        # setting 1: all training slices
exec bash "$(dirname "${BASH_SOURCE[0]}")/../../run_experiment.sh" finetune "$@"
