#!/usr/bin/env bash
# Test the trained networks, five folds: CT (Synapse), starting from Swin-B of SimMIM on medical images.
# Setting 1: all training slices. Tested: liver and spleen. --help tells every setting.
set -euo pipefail
export EXPERIMENT=mri_ct_s1_l1 VARIANT=03_OtherSSL_Medical/simmim_swin MODALITY=ct
exec bash "$(dirname "${BASH_SOURCE[0]}")/../../run_experiment.sh" test "$@"
