#!/usr/bin/env bash
# Test the fine-tuned networks, five folds: MRI (CHAOS T2-SPIR), starting from Swin-B of SimMIM on medical images.
# Setting 2: no training slice shows a tested organ. Tested: liver and spleen. --help tells every setting.
set -euo pipefail
export EXPERIMENT=mri_ct_s2_l1 VARIANT=03_OtherSSL_Medical/simmim_swin MODALITY=mri
exec bash "$(dirname "${BASH_SOURCE[0]}")/../../run_experiment.sh" finetune-test "$@"
