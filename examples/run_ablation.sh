#!/usr/bin/env bash
# An ablation: the method's experiment in several arms, that differ in what is stated, through all steps into one table.
set -euo pipefail
# shellcheck source=examples/shared.bash
source "$(dirname -- "${BASH_SOURCE[0]}")/shared.bash"

usage() {
    cat <<'TEXT'
Usage: run_ablation.sh NAME ARM [ARM ...]
       an ARM is "FOLDER VARIABLE=value ...", or "method"

Runs the steps of the experiment mri_ct_s1_l0/02_DenseCL_Medical once for each arm, with the arm's variables, and
collects the results into one table. The scripts in examples/ablations/ state their arms, and hand over to this.

The arm "method" is the experiment as it is: its runs are those of examples/mri_ct_s1_l0/02_DenseCL_Medical, in
exps/mri_ct_s1_l0/02_DenseCL_Medical, so what is finished there is not run again. The runs of the other arms go to
exps/ablations/NAME/FOLDER. All can be interrupted and started again, like every experiment.

Variables
  MODALITY       mri (default) or ct
  EXPERIMENTS    of other settings and label sets, separated by spaces (default mri_ct_s1_l0); their runs go to
                 exps/ablations/NAME/FOLDER/<experiment>
  STEPS          default "train test ft_train ft_test"
  EXPS           folder that stands for exps/
  ALL_EV NSTEP GPUS DRY_RUN ...    as in examples/run_experiment.sh, which see (--help). Lengths of training and
                 fine-tuning differ: FT_NSTEP and FT_SNAPSHOT_INTERVAL are those of ft_train
TEXT
}

help_if_asked "$@"
check_switches DRY_RUN RESTART
[ $# -ge 2 ] || fail "expected a name and the arms (see --help)"
name=$1
shift

modality=${MODALITY:-mri}
exps=${EXPS:-$ROOT/exps}
read -r -a experiments <<<"${EXPERIMENTS:-mri_ct_s1_l0}"
unset EXPERIMENTS # each script has its own
read -r -a steps <<<"${STEPS:-train test ft_train ft_test}"
variant=02_DenseCL_Medical
for experiment in "${experiments[@]}"; do
    for step in "${steps[@]}"; do
        script=$ROOT/examples/$experiment/$variant/${step}_ssl_abdominal_${modality}_densecl_5_fold.sh
        [ -f "$script" ] || fail "there is no $script; correct EXPERIMENTS, STEPS or MODALITY (see --help)"
    done
done

for arm in "$@"; do
    read -r -a words <<<"$arm"
    variables=("${words[@]:1}")
    if [ "${words[0]}" = method ]; then
        [ ${#variables[@]} -eq 0 ] ||
            fail "the arm 'method' is the experiment as it is; give the arm '$arm' another name"
    else
        [ ${#variables[@]} -gt 0 ] || fail "the arm '$arm' has no VARIABLE=value; it would be the method (see --help)"
    fi
    for variable in "${variables[@]}"; do
        [[ $variable =~ ^[A-Z_]+= ]] || fail "'$variable' in the arm '$arm' is not of the form VARIABLE=value"
    done
done

folders=() # what the table is collected from: the arm's name must be part of a run folder's path below it
for experiment in "${experiments[@]}"; do
    folders+=("$exps/$experiment")
done
for arm in "$@"; do
    read -r -a words <<<"$arm"
    folder=${words[0]}
    variables=("${words[@]:1}")
    for experiment in "${experiments[@]}"; do
        if [ "$folder" = method ]; then
            log_dir=$exps/$experiment/$variant
        else
            log_dir=$exps/ablations/$name/$folder/$experiment
        fi
        for step in "${steps[@]}"; do
            lengths=()
            if [ "$step" = ft_train ]; then
                lengths=("NSTEP=${FT_NSTEP:-}" "SNAPSHOT_INTERVAL=${FT_SNAPSHOT_INTERVAL:-}")
            fi
            echo "=== $name, arm $arm: $experiment, $step"
            env LOGDIR="$log_dir" "${lengths[@]}" "${variables[@]}" \
                bash "$ROOT/examples/$experiment/$variant/${step}_ssl_abdominal_${modality}_densecl_5_fold.sh"
        done
    done
    [ "$folder" = method ] || [ "${folders[-1]}" = "$exps/ablations/$name" ] || folders+=("$exps/ablations/$name")
done

show_or_run "$(find_python)" "$ROOT/tools/collect_results.py" "${folders[@]}" --out "$exps/ablations/$name"
