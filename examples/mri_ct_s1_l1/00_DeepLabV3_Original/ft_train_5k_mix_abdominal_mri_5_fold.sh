#!/usr/bin/env bash
# Fine-tune the trained networks, five folds: MRI (CHAOS T2-SPIR), starting from COCO DeepLabV3.
# Setting 1: all training slices. Tested: liver and spleen. --help tells every setting.
set -euo pipefail
export EXPERIMENT=mri_ct_s1_l1 VARIANT=00_DeepLabV3_Original MODALITY=mri
exec bash "$(dirname "${BASH_SOURCE[0]}")/../../run_experiment.sh" finetune "$@"
