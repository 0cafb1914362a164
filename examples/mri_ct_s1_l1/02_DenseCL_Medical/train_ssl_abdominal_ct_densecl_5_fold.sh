#!/usr/bin/env bash
# Train, five folds: CT (Synapse), starting from Stage 1 on ROCO: the method.
# Every setting can be given from the environment: ALL_EV="0" bash THIS_SCRIPT; --help tells the rest.
set -euo pipefail
export EXPERIMENT=mri_ct_s1_l1 VARIANT=02_DenseCL_Medical
export DATASET="${DATASET:-SABS_Superpix}"
export LABEL_SETS="${LABEL_SETS:-1}"  # spleen and liver are tested
export EXCLU="${EXCLU:-[]}"        # setting 1: all training slices
exec bash "$(dirname "${BASH_SOURCE[0]}")/../../run_experiment.sh" train "$@"
