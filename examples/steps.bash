# shellcheck shell=bash
# Steps of a longer road: each is stamped when done, with its settings and the stamps of the steps that it builds on, so
# that a step is repeated only where something has changed, and an interrupted one goes on.
#
# The script that uses them sets `out` (stamps are kept in out/.steps), `dry_run` (0 or 1) and `N_STEPS`.

# What the environment holds for experiments of the driver is not for its calls in these steps.
unset EXPERIMENT EXPERIMENTS VARIANT MODALITY SEEDS RUN_NAME LOGS DRY_RUN RESTART RELOAD SNAPSHOTS SNAPSHOT_STEP \
    TESTED_STEPS SELECT PROTOCOL FOLD_SCHEME EXCLUDE_RULE CT_STATISTICS LAUNCHER GPUS JOBS_PER_GPU

started=$SECONDS
step_number=0

elapsed() {
    printf '%dm %02ds' $(((SECONDS - started) / 60)) $(((SECONDS - started) % 60))
}

heading() {
    step_number=$((step_number + 1))
    printf '\n=== [%d/%d] %s (elapsed %s)\n' "$step_number" "$N_STEPS" "$1" "$(elapsed)"
}

# What an input folder holds, so that a changed one is noticed: names, sizes and times of its images and labels.
listing() {
    find -L "$1" -maxdepth 1 -type f \( -name 'image_*' -o -name 'label_*' -o -iname '*.jp*g' -o -iname '*.png' \) \
        -printf '%f %s %T@\n' | LC_ALL=C sort | cksum
}

# step NAME TITLE "NAMES OF EARLIER STEPS" OUTPUT COMMAND...: the command's words are its settings. Variables before it:
#   watched, watched_file   an input folder, an input file: the step is repeated where they have changed
#   emptied                 a folder of the step alone, removed where it begins anew
#   when_resumed            a further word for the command where the same step was interrupted
# RESTART tells the driver of experiments whether to begin anew (1) or to go on (0).
step() {
    local name=$1 title=$2 earlier=$3 output=$4 stamp=$out/.steps/$1 wanted='' other
    shift 4
    heading "$title"
    if [ "$dry_run" = 1 ]; then
        case $(type -t "$1") in
            function) "$@" ;; # it shows its commands itself
            *) show_or_run "$@" ;;
        esac
        return
    fi
    wanted=$(printf '%s\n' "$@")
    [ -z "${watched:-}" ] || wanted+=$'\n'"of $(listing "$watched")"
    [ -z "${watched_file:-}" ] || wanted+=$'\n'"of $(cksum <"$watched_file")"
    for other in $earlier; do
        wanted+=$'\n'"after $other: $(cksum <"$out/.steps/$other")"
    done
    if [ -e "$output" ] && [ "$wanted" = "$(sed '$d' "$stamp" 2>/dev/null)" ]; then
        echo "already done with these settings: $output"
        return
    fi
    local begun=$SECONDS restart_driver=1 further=()
    if [ "$wanted" = "$(cat "$stamp.begun" 2>/dev/null)" ]; then
        echo "was interrupted: goes on"
        restart_driver=0
        [ -z "${when_resumed:-}" ] || further=("$when_resumed")
    else
        [ -z "${emptied:-}" ] || rm -rf -- "$emptied"
    fi
    rm -f "$stamp"
    printf '%s\n' "$wanted" >"$stamp.begun"
    RESTART=$restart_driver "$@" "${further[@]}"
    [ -e "$output" ] || fail "the step ended without $output; begin anew with --restart"
    rm -f "$stamp.begun"
    printf '%s\ndone %s\n' "$wanted" "$(date +%s.%N)" >"$stamp"
    printf -- '--- done in %d s: %s\n' $((SECONDS - begun)) "$output"
}
