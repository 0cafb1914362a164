#!/usr/bin/env bash
# Fine-tune the trained networks, five folds: CT (Synapse), starting from Stage 1 on ROCO: the method.
# Setting 2: no training slice shows a tested organ. Tested: kidneys. --help tells every setting.
set -euo pipefail
export EXPERIMENT=mri_ct_s2_l0 VARIANT=02_DenseCL_Medical MODALITY=ct
exec bash "$(dirname "${BASH_SOURCE[0]}")/../../run_experiment.sh" finetune "$@"
