#!/usr/bin/env bash
# Train, five folds: CT (Synapse), starting from DenseCL on ImageNet, without Stage 1.
# Every setting can be given from the environment: ALL_EV="0" bash THIS_SCRIPT; --help tells the rest.
set -euo pipefail
export EXPERIMENT=mri_ct_s2_l0 VARIANT=01_DenseCL_Original
export DATASET="${DATASET:-SABS_Superpix}"
export LABEL_SETS="${LABEL_SETS:-0}"  # kidneys are tested
export EXCLU="${EXCLU:-[2,3]}"  # setting 2: no training slice shows them
exec bash "$(dirname "${BASH_SOURCE[0]}")/../../run_experiment.sh" train "$@"
