#!/usr/bin/env bash
# Test the fine-tuned networks, five folds: MRI (CHAOS T2-SPIR), starting from DenseCL on ImageNet, without Stage 1.
# Setting 2: no training slice shows a tested organ. Tested: kidneys. --help tells every setting.
set -euo pipefail
export EXPERIMENT=mri_ct_s2_l0 VARIANT=01_DenseCL_Original MODALITY=mri
export TESTED_STEPS="1000 2000 3000 4000 5000"
exec bash "$(dirname "${BASH_SOURCE[0]}")/../../run_experiment.sh" finetune-test "$@"
