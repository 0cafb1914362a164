#!/usr/bin/env bash
# Test the fine-tuned networks, five folds: MRI (CHAOS T2-SPIR), Swin-B of SimMIM on medical images.
# Every setting can be given from the environment: ALL_EV="0" bash THIS_SCRIPT; --help tells the rest.
set -euo pipefail
export EXPERIMENT=mri_ct_s2_l1 VARIANT=03_OtherSSL_Medical/simmim_swin
export DATASET="${DATASET:-CHAOST2_Superpix}"
export LABEL_SETS="${LABEL_SETS:-1}"  # liver and spleen are tested
export EXCLU="${EXCLU:-[1,4]}"  # setting 2: no training slice shows them
exec bash "$(dirname "${BASH_SOURCE[0]}")/../../run_experiment.sh" finetune-test "$@"
