#!/usr/bin/env bash
# Train, five folds: MRI (CHAOS T2-SPIR), starting from COCO DeepLabV3.
# Setting 1: all training slices. Tested: kidneys. --help tells every setting.
set -euo pipefail
export EXPERIMENT=mri_ct_s1_l0 VARIANT=00_DeepLabV3_Original MODALITY=mri
exec bash "$(dirname "${BASH_SOURCE[0]}")/../../run_experiment.sh" train "$@"
