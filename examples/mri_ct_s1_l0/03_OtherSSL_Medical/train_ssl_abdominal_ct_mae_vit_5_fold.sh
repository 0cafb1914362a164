#!/usr/bin/env bash
# Train, five folds: CT (Synapse), starting from ViT-B of MAE on medical images.
# Setting 1: all training slices. Tested: kidneys. --help tells every setting.
set -euo pipefail
export EXPERIMENT=mri_ct_s1_l0 VARIANT=03_OtherSSL_Medical/mae_vit MODALITY=ct
exec bash "$(dirname "${BASH_SOURCE[0]}")/../../run_experiment.sh" train "$@"
