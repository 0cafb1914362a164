# shellcheck shell=bash
# What the scripts that people start have in common: where the repository is, help, and refusals.

ROOT=$(CDPATH='' cd -P -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)

fail() {
    echo "${0##*/}: $*" >&2
    exit 2
}

# Prints the script's usage and ends it where -h or --help is among the arguments.
help_if_asked() {
    local argument
    for argument in "$@"; do
        case "$argument" in
            -h | --help)
                usage
                exit 0
                ;;
        esac
    done
}

# The interpreter that the environment names, else that of .venv, else python3.
find_python() {
    if [ -n "${PYTHON:-}" ]; then
        echo "$PYTHON"
    elif [ -x "$ROOT/.venv/bin/python" ]; then
        echo "$ROOT/.venv/bin/python"
    else
        echo python3
    fi
}
