#!/usr/bin/env bash
# Heads, episodes and prototypes of the query, each network scored by every protocol: one table.
set -euo pipefail
# shellcheck source=examples/shared.bash
source "$(dirname -- "${BASH_SOURCE[0]}")/../shared.bash"

usage() {
    cat <<'TEXT'
Usage: heads_and_episodes.sh

Trains a network for every head, kind of episode and seed. Each is tested by every protocol, without and with prototypes
of the query, and all tests go into one table. Runs go to exps/ablations/heads_and_episodes/<head>_<episodes>/seed<seed>
and are named test_<protocol>, with _query where the query adds prototypes. All can be interrupted and started again,
like every experiment.

The protocol adnet tests a fold's scans with one of them as support. These are the scans that training on the fold left
out: its test scans and the support after them.

Supervoxels are made by: python tools/prepare_data.py supervoxels FOLDER --dataset CHAOST2

Variables, values separated by spaces
  HEADS             default "grid_proto anomaly global_proto": ALPNet, ADNet, PA-Net
  EPISODES          default "superpixel supervoxel"
  PROTOCOLS         default "paper clean adnet"
  QUERY_PROTOTYPES  default "0 10": at most as many of the query; 0 is without
  SEEDS             default "1234"
  ADNET_SUPPORT     support of the protocol adnet, by place in the fold (default 2, as published)
  MODALITY          mri (default) or ct
  EXPERIMENT        mri_ct_s1_l0 (default), or another setting and label set
  EXPS              folder that stands for exps/
  ALL_EV NSTEP GPUS DRY_RUN ...    as in examples/run_experiment.sh, which see (--help)

In docs/measurements.md:
  MODELNAME=dlfcn_res18 USE_DENSECL_INIT=False ALL_EV="0 3" SEEDS="1234 1235" NSTEP=100 SNAPSHOT_INTERVAL=100 \
      bash examples/ablations/heads_and_episodes.sh
TEXT
}

help_if_asked "$@"
check_switches DRY_RUN RESTART
[ $# -eq 0 ] || fail "'$1' is not expected: settings are variables (see --help)"
read -r -a heads <<<"${HEADS:-grid_proto anomaly global_proto}"
read -r -a kinds <<<"${EPISODES:-superpixel supervoxel}"
read -r -a protocols <<<"${PROTOCOLS:-paper clean adnet}"
read -r -a counts <<<"${QUERY_PROTOTYPES:-0 10}"
read -r -a seeds <<<"${SEEDS:-1234}"
for kind in "${kinds[@]}"; do
    check_choice EPISODES "$kind" superpixel supervoxel
done
for protocol in "${protocols[@]}"; do
    check_choice PROTOCOLS "$protocol" paper clean adnet
done
for number in "${counts[@]}" "${seeds[@]}" "${ADNET_SUPPORT:-2}"; do
    [[ $number =~ ^[0-9]{1,9}$ ]] || fail "'$number' in QUERY_PROTOTYPES, SEEDS or ADNET_SUPPORT is no whole number"
done
modality=${MODALITY:-mri}
scripts=$ROOT/examples/${EXPERIMENT:-mri_ct_s1_l0}/02_DenseCL_Medical
train=$scripts/train_ssl_abdominal_${modality}_densecl_5_fold.sh
test=$scripts/test_ssl_abdominal_${modality}_densecl_5_fold.sh
[ -f "$train" ] || fail "there is no $train; correct EXPERIMENT or MODALITY (see --help)"

table=${EXPS:-$ROOT/exps}/ablations/heads_and_episodes
# The variables that this script has under the same names are none of the driver's.
unset EXPERIMENT EXPERIMENTS HEADS EPISODES PROTOCOLS QUERY_PROTOTYPES SEEDS RUN_NAME
for seed in "${seeds[@]}"; do
    for head in "${heads[@]}"; do
        for kind in "${kinds[@]}"; do
            export SEED=$seed CLSNAME=$head LOGDIR=$table/${head}_$kind/seed$seed
            echo "=== heads_and_episodes, $head, $kind, seed $seed: train"
            bash "$train" "episodes=$kind"
            for protocol in "${protocols[@]}"; do
                settings=("protocol=$protocol")
                if [ "$protocol" = adnet ]; then
                    settings+=(fold_scheme=overlapping "support_idx=[${ADNET_SUPPORT:-2}]")
                fi
                for count in "${counts[@]}"; do
                    name=test_$protocol words=("${settings[@]}")
                    if [ "$count" != 0 ]; then
                        name+=_query words+=("query_prototypes=$count")
                        [ ${#counts[@]} -le 2 ] || name+=$count
                    fi
                    echo "=== heads_and_episodes, $head, $kind, seed $seed: $name"
                    RUN_NAME=$name bash "$test" "${words[@]}"
                done
            done
        done
    done
done

show_or_run "$(find_python)" "$ROOT/tools/collect_results.py" "$table" --out "$table"
