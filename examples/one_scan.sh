#!/usr/bin/env bash
# One annotated scan: networks adapted in minutes, against prototypes and registration, on any processed folder.
set -euo pipefail
# shellcheck source=examples/shared.bash
source "$(dirname -- "${BASH_SOURCE[0]}")/shared.bash"

usage() {
    cat <<'TEXT'
Usage: bash examples/one_scan.sh [options]

In every fold, one annotated scan segments the test scans of a processed folder. Networks are adapted to it for 1, 3 and
10 minutes, from the starting network, if it is there, and from random weights. Registration and, with --snapshot,
prototypes of Stage 2 are the baselines. Ends with tables of Dice, of HD95, and of what the confidence is worth.

  --data DIR              processed folder with image_<id>.nii.gz and label_<id>.nii.gz (default: that of the data set)
  --dataset CHAOST2|SABS  what the folder is (default CHAOST2); or the .yaml file of your own data set
  --out DIR               where values and tables go (default exps/one_scan); what it holds is not measured again, so
                          an interrupted run goes on
  --without-registration  leave that baseline out; --slices N leaves it out too
  -h, --help              this text

All other options are those of tools/benchmark.py one_scan, such as
  --folds 0 1   --seeds 0   --minutes 1 3   --starts mine=FILE random   --labels 2,3   --slices 3   --snapshot FILE

With CHAOST2, all folds and the defaults need about five and a half hours of one core. Several folds at once:
  bash examples/one_scan.sh --folds 0 1 2 --out exps/one_scan/a &
  bash examples/one_scan.sh --folds 3 4 --out exps/one_scan/b
  python tools/benchmark.py one_scan --only-table --out exps/one_scan/a exps/one_scan/b
TEXT
}

help_if_asked "$@"
registration=(--registration)
options=(--out "$ROOT/exps/one_scan")
while [ $# -gt 0 ]; do
    case "$1" in
        --without-registration) registration=() && shift ;;
        --data)
            check_value "$@"
            check_folder --data "$2"
            [ "$(count_files "$2" 'image_*.nii.gz')" -gt 0 ] ||
                fail "--data $2 holds no image_<id>.nii.gz; expected a processed folder"
            options+=("$1" "$2")
            shift 2
            ;;
        --slices)
            check_value "$@"
            [ "$2" = all ] || registration=()
            options+=("$1" "$2")
            shift 2
            ;;
        *) options+=("$1") && shift ;;
    esac
done

exec "$(find_python)" "$ROOT/tools/benchmark.py" one_scan "${registration[@]}" "${options[@]}"
