#!/usr/bin/env bash
# Fine-tune the trained networks, five folds: MRI (CHAOS T2-SPIR), starting from Swin-B of SimMIM on medical images.
# Setting 1: all training slices. Tested: kidneys. --help tells every setting.
set -euo pipefail
export EXPERIMENT=mri_ct_s1_l0 VARIANT=03_OtherSSL_Medical/simmim_swin MODALITY=mri
exec bash "$(dirname "${BASH_SOURCE[0]}")/../../run_experiment.sh" finetune "$@"
