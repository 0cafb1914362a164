#!/usr/bin/env bash
# Prototypes: ALPNet's local and global ones (the method) against PA-Net's single global one for each class.
# Variables: MODALITY=ct, ALL_EV="0", GPUS="0 1 2 3", DRY_RUN=1 ...; --help tells the rest.
set -euo pipefail
exec bash "$(dirname "${BASH_SOURCE[0]}")/../run_ablation.sh" panet_against_alpnet method "panet CLSNAME=global_proto" "$@"
