# shellcheck shell=bash
# What the scripts that people start have in common: where the repository is, help, and checks of what was asked for.

unset CDPATH
ROOT=$(cd -P -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)

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

# Runs a command or, where the script has dry_run=1 or the environment DRY_RUN=1, prints it.
show_or_run() {
    if [ "${dry_run:-${DRY_RUN:-0}}" = 1 ]; then
        printf '%q ' "$@"
        echo
    else
        "$@"
    fi
}

# --- checks of options: one sentence before anything starts ---

# check_value OPTION VALUE ...: that a value follows an option; called with all words that are left.
check_value() {
    [ $# -ge 2 ] && [ -n "$2" ] || fail "$1 needs a value (see --help)"
}

# set_option --some-name VALUE ...: the variable some_name.
set_option() {
    check_value "$@"
    local variable=${1#--}
    printf -v "${variable//-/_}" '%s' "$2"
}

check_choice() {
    local option=$1 value=$2
    shift 2
    local choice
    for choice in "$@"; do
        [ "$value" != "$choice" ] || return 0
    done
    fail "$option $value is not possible; choose one of: $*"
}

# check_switches VARIABLE ...: that each is 1 (yes), or 0 or nothing (no).
check_switches() {
    local variable
    for variable in "$@"; do
        [[ ${!variable:-0} == [01] ]] || fail "$variable=${!variable} is not possible; give 1, or leave it out"
    done
}

check_count() {
    [[ $2 =~ ^[1-9][0-9]{0,8}$ ]] || fail "$1 $2 is not possible; give a whole number, 1 or more"
}

# Number of files in a folder whose names match any of the patterns.
count_files() {
    local folder=$1 pattern names=()
    shift
    for pattern in "$@"; do
        names+=(-o -iname "$pattern")
    done
    find -L "$folder" -maxdepth 1 -type f \( "${names[@]:1}" \) | wc -l
}

check_folder() {
    [ -e "$2" ] || fail "$1 $2 does not exist; name a folder"
    [ -d "$2" ] || fail "$1 $2 is not a folder; name a folder"
    [ -r "$2" ] && [ -x "$2" ] || fail "$1 $2 cannot be read; check its permissions"
}
