#!/usr/bin/env bash
# Fine-tune without training, five folds: CT (Synapse), starting from ResNet-50 of SimCLR on medical images.
# Setting 1: all training slices. Tested: kidneys. --help tells every setting.
set -euo pipefail
export EXPERIMENT=mri_ct_s1_l0 VARIANT=03_OtherSSL_Medical/res50simclr MODALITY=ct
exec bash "$(dirname "${BASH_SOURCE[0]}")/../../run_experiment.sh" finetune "$@"
