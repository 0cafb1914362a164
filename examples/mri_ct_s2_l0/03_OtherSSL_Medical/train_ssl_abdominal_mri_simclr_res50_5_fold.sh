#!/usr/bin/env bash
# Train, five folds: MRI (CHAOS T2-SPIR), starting from ResNet-50 of SimCLR on medical images.
# Setting 2: no training slice shows a tested organ. Tested: kidneys. --help tells every setting.
set -euo pipefail
export EXPERIMENT=mri_ct_s2_l0 VARIANT=03_OtherSSL_Medical/simclr_res50 MODALITY=mri
exec bash "$(dirname "${BASH_SOURCE[0]}")/../../run_experiment.sh" train "$@"
