#!/usr/bin/env bash
# Starting weights: after Stage 1 (the method), the ImageNet weights that Stage 1 itself starts from, none at all.
# Variables: MODALITY=ct, ALL_EV="0", GPUS="0 1 2 3", DRY_RUN=1 ...; --help tells the rest.
set -euo pipefail
IMAGENET=${IMAGENET:-$(cd -P "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)/Stage1/initmodel/resnet101-63fe2227.pth}
exec bash "$(dirname "${BASH_SOURCE[0]}")/../run_ablation.sh" with_and_without_stage1 method \
    "imagenet PRETRAINED_BACKBONE=$IMAGENET" "random USE_DENSECL_INIT=False" "$@"
