#!/usr/bin/env bash
# Train, five folds: CT (Synapse), starting from ResNet-50 of SimCLR on medical images.
# Setting 1: all training slices. Tested: liver and spleen. --help tells every setting.
set -euo pipefail
export EXPERIMENT=mri_ct_s1_l1 VARIANT=03_OtherSSL_Medical/simclr_res50 MODALITY=ct
exec bash "$(dirname "${BASH_SOURCE[0]}")/../../run_experiment.sh" train "$@"
