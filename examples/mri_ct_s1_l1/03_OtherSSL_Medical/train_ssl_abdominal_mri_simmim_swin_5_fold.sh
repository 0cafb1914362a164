#!/usr/bin/env bash
# Train, five folds: MRI (CHAOS T2-SPIR), Swin-B of SimMIM on medical images.
# Every setting can be given from the environment: ALL_EV="0" bash THIS_SCRIPT; --help tells the rest.
set -euo pipefail
export EXPERIMENT=mri_ct_s1_l1 VARIANT=03_OtherSSL_Medical/simmim_swin
export DATASET="${DATASET:-CHAOST2_Superpix}"
export LABEL_SETS="${LABEL_SETS:-1}"  # liver and spleen are tested
export EXCLU="${EXCLU:-[]}"        # setting 1: all training slices
exec bash "$(dirname "${BASH_SOURCE[0]}")/../../run_experiment.sh" train "$@"
