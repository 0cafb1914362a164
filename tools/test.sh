#!/usr/bin/env bash
# The project's checks: environment, style, tests.
set -euo pipefail

if [[ "${1:-}" == --help || "${1:-}" == -h ]]; then
    cat <<'EOF'
usage: bash tools/test.sh [pytest arguments]

Sets up .venv if needed (tools/setup.sh --dev), then runs ruff and pytest. Arguments go to pytest, paths relative to
the repository root, e.g. bash tools/test.sh tests/stage2 -k folds
The tests run in two processes; -n 4 makes it four, and -n 0, --pdb or -s one.
EOF
    exit 0
fi

root="$(cd -P -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)"
bash "$root/tools/setup.sh" --dev
cd -- "$root"

# What the tests of a file share (a trained network, a folder of scans) is made once: a file stays in one process. In
# the order of their folders, files that take long come before the many that take seconds.
processes=(-n 2 --dist loadfile --no-loadscope-reorder)
for argument in "$@"; do
    case "$argument" in --pdb | --trace | -s | --capture=no | *no:xdist) processes=() ;; esac
done

# Small tensors gain nothing from many threads, and worker processes inside the tests would multiply them.
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" MKL_NUM_THREADS="${MKL_NUM_THREADS:-1}" MPLBACKEND="${MPLBACKEND:-Agg}"
# Threads that wait for one another must not keep a core busy that another process needs: they took three times as long.
export OMP_WAIT_POLICY="${OMP_WAIT_POLICY:-passive}"
export PATH="$root/.venv/bin:$PATH"

.venv/bin/python -m ruff check .
exec .venv/bin/python -m pytest "${processes[@]}" "$@"
