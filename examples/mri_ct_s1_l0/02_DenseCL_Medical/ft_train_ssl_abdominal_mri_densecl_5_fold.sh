#!/usr/bin/env bash
# MRI (CHAOS T2-SPIR), setting 1, label set 0 (kidneys unseen), Stage 1 weights from ROCO: fine-tune the trained networks, five folds.
# Every setting can be given from the environment: ALL_EV="0" bash THIS_SCRIPT; --help tells the rest.
set -euo pipefail
ROOT=$(cd -P "$(dirname "${BASH_SOURCE[0]}")/../../.." && pwd)
set -a

# experiment
: "${ALL_EV:=0 1 2 3 4}"                                   # folds
: "${DATASET:=CHAOST2_Superpix}"
: "${LABEL_SETS:=0}"                                       # 0: kidneys are tested
: "${EXCLU:=[]}"                                           # setting 1: all training slices are used
: "${SEED:=1234}"
: "${SUPP_ID:=[4]}"                                        # index of the support scan in the fold
: "${N_PART:=3}"                                           # parts of a scan, one support slice each
: "${SUPERPIX_SCALE:=MIDDLE}"
: "${NWORKER:=4}"

# network
: "${MODELNAME:=dlfcn_res101}"
: "${CLSNAME:=grid_proto}"                                 # ALPNet
: "${PROTO_GRID:=8}"
: "${USEALIGN:=True}"

# optimisation
: "${NSTEP:=5100}"
: "${LR:=1e-4}"
: "${DECAY:=0.95}"                                         # of the learning rate, every 1000 steps
: "${MAX_ITER:=1000}"                                      # steps per load of the data
: "${SNAPSHOT_INTERVAL:=1000}"
: "${PRINT_INTERVAL:=100}"
: "${SCAN_PER_LOAD:=-1}"                                   # -1: all scans at once
: "${MIN_FG_DATA:=1}"
: "${USE_WCE:=True}"                                       # class weights 0.05, 1

# where
: "${DATA_DIR:=$ROOT/data/CHAOST2/chaos_MR_T2_normalized}"
: "${LOGDIR:=$ROOT/exps/mri_ct_s1_l0/02_DenseCL_Medical}"

exec bash "$ROOT/examples/run_experiment.sh" finetune "$@"
