#!/usr/bin/env bash
# Test the fine-tuned networks, five folds: CT (Synapse), starting from DenseCL on ImageNet, without Stage 1.
# Setting 1: all training slices. Tested: kidneys. --help tells every setting.
set -euo pipefail
export EXPERIMENT=mri_ct_s1_l0 VARIANT=01_DenseCL_Original MODALITY=ct
exec bash "$(dirname "${BASH_SOURCE[0]}")/../../run_experiment.sh" finetune-test "$@"
