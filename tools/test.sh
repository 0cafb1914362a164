#!/usr/bin/env bash
# The project's checks: environment, style, tests.
set -euo pipefail

if [[ "${1:-}" == --help || "${1:-}" == -h ]]; then
    cat <<'EOF'
usage: bash tools/test.sh [pytest arguments]

Sets up .venv if needed (tools/setup.sh --dev), then runs ruff and pytest. Arguments go to pytest, paths relative to
the repository root, e.g. bash tools/test.sh tests/stage2 -k folds
EOF
    exit 0
fi

root="$(cd -P -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)"
bash "$root/tools/setup.sh" --dev
cd -- "$root"

# Small tensors gain nothing from many threads, and worker processes inside the tests would multiply them.
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-2}" MKL_NUM_THREADS="${MKL_NUM_THREADS:-2}" MPLBACKEND="${MPLBACKEND:-Agg}"
export PATH="$root/.venv/bin:$PATH"

.venv/bin/python -m ruff check .
exec .venv/bin/python -m pytest "$@"
