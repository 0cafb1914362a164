#!/usr/bin/env bash
# Test the fine-tuned networks, five folds: MRI (CHAOS T2-SPIR), starting from ResNet-50 of SimCLR on medical images.
# Setting 2: no training slice shows a tested organ. Tested: liver and spleen. --help tells every setting.
set -euo pipefail
export EXPERIMENT=mri_ct_s2_l1 VARIANT=03_OtherSSL_Medical/res50simclr MODALITY=mri
export TESTED_STEPS="1000 2000 3000 4000 5000"
exec bash "$(dirname "${BASH_SOURCE[0]}")/../../run_experiment.sh" finetune-test "$@"
