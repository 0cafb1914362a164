#!/usr/bin/env bash
# Test the trained networks, five folds: MRI (CHAOS T2-SPIR), starting from Stage 1 on ROCO: the method.
# Every setting can be given from the environment: ALL_EV="0" bash THIS_SCRIPT; --help tells the rest.
set -euo pipefail
export EXPERIMENT=mri_ct_s2_l0 VARIANT=02_DenseCL_Medical
export DATASET="${DATASET:-CHAOST2_Superpix}"
export LABEL_SETS="${LABEL_SETS:-0}"  # kidneys are tested
export EXCLU="${EXCLU:-[2,3]}"  # setting 2: no training slice shows them
exec bash "$(dirname "${BASH_SOURCE[0]}")/../../run_experiment.sh" test "$@"
