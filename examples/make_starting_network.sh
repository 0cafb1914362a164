#!/usr/bin/env bash
# The network that adapting starts from, made from nothing but drawn slices.
set -euo pipefail
# shellcheck source=examples/shared.bash
source "$(dirname -- "${BASH_SOURCE[0]}")/shared.bash"

usage() {
    cat <<'TEXT'
Usage: bash examples/make_starting_network.sh [options of tools/make_starting_network.py]

Draws 600 phantom subjects, and pre-trains a ResNet-18 with its decoder on their slices in random contrasts.
It takes about an hour and a half of one core. An interrupted run goes on, and the same run gives the same file again.
Default options: --work exps/starting_network --out exps/starting_network/starting_resnet18.safetensors
TEXT
}

help_if_asked "$@"
cd "$ROOT"
exec "$(find_python)" tools/make_starting_network.py --work exps/starting_network \
    --out exps/starting_network/starting_resnet18.safetensors "$@"
