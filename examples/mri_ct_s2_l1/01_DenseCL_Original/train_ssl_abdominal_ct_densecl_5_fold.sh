#!/usr/bin/env bash
# Train, five folds: CT (Synapse), starting from DenseCL on ImageNet, without Stage 1.
# Setting 2: no training slice shows a tested organ. Tested: liver and spleen. --help tells every setting.
set -euo pipefail
export EXPERIMENT=mri_ct_s2_l1 VARIANT=01_DenseCL_Original MODALITY=ct
exec bash "$(dirname "${BASH_SOURCE[0]}")/../../run_experiment.sh" train "$@"
