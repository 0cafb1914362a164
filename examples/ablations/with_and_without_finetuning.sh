#!/usr/bin/env bash
# Fine-tuning with the annotated training classes: the tests of the method before (test) and after it (ft_test).
# Variables: MODALITY=ct, ALL_EV="0", GPUS="0 1 2 3", DRY_RUN=1 ...; --help tells the rest.
set -euo pipefail
exec bash "$(dirname "${BASH_SOURCE[0]}")/../run_ablation.sh" with_and_without_finetuning method "$@"
