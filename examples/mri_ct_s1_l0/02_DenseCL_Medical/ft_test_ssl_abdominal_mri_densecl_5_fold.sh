#!/usr/bin/env bash
# Test the fine-tuned networks, five folds: MRI (CHAOS T2-SPIR), starting from Stage 1 on ROCO: the method.
# Setting 1: all training slices. Tested: kidneys. --help tells every setting.
set -euo pipefail
export EXPERIMENT=mri_ct_s1_l0 VARIANT=02_DenseCL_Medical MODALITY=mri
exec bash "$(dirname "${BASH_SOURCE[0]}")/../../run_experiment.sh" finetune-test "$@"
