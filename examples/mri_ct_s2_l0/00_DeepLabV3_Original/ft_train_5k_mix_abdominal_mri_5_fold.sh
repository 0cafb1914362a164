#!/usr/bin/env bash
# Fine-tune the trained networks, five folds: MRI (CHAOS T2-SPIR), starting from COCO DeepLabV3.
# Setting 2: no training slice shows a tested organ. Tested: kidneys. --help tells every setting.
set -euo pipefail
export EXPERIMENT=mri_ct_s2_l0 VARIANT=00_DeepLabV3_Original MODALITY=mri
exec bash "$(dirname "${BASH_SOURCE[0]}")/../../run_experiment.sh" finetune "$@"
