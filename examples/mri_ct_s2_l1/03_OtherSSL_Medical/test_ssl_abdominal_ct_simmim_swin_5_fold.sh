#!/usr/bin/env bash
# Test the trained networks, five folds: CT (Synapse), Swin-B of SimMIM on medical images.
# Every setting can be given from the environment: ALL_EV="0" bash THIS_SCRIPT; --help tells the rest.
set -euo pipefail
export EXPERIMENT=mri_ct_s2_l1 VARIANT=03_OtherSSL_Medical/simmim_swin
export DATASET="${DATASET:-SABS_Superpix}"
export LABEL_SETS="${LABEL_SETS:-1}"  # spleen and liver are tested
export EXCLU="${EXCLU:-[1,6]}"  # setting 2: no training slice shows them
exec bash "$(dirname "${BASH_SOURCE[0]}")/../../run_experiment.sh" test "$@"
