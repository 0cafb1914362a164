#!/usr/bin/env bash
# Size of the superpixels that are the pseudo-labels: MIDDLE (the method) against SMALL.
# SMALL ones are made by: python tools/prepare_data.py superpixels FOLDER --dataset CHAOST2 --scale SMALL
# Variables: MODALITY=ct, ALL_EV="0", GPUS="0 1 2 3", DRY_RUN=1 ...; --help tells the rest.
set -euo pipefail
exec bash "$(dirname "${BASH_SOURCE[0]}")/../run_ablation.sh" superpixel_scale method "small SUPERPIX_SCALE=SMALL" "$@"
