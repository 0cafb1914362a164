#!/usr/bin/env bash
# Fine-tune the trained networks, five folds: CT (Synapse), starting from DenseCL on ImageNet, without Stage 1.
# Setting 1: all training slices. Tested: liver and spleen. --help tells every setting.
set -euo pipefail
export EXPERIMENT=mri_ct_s1_l1 VARIANT=01_DenseCL_Original MODALITY=ct
exec bash "$(dirname "${BASH_SOURCE[0]}")/../../run_experiment.sh" finetune "$@"
