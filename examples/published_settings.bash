# shellcheck shell=bash
# The published settings that all experiments share; examples/run_experiment.sh reads them. What the environment or a
# script has set already stays as it is.

# experiment: mri_ct_s<setting>_l<label set>, and the data set of the modality
case "${MODALITY:-}" in
    mri) : "${DATASET:=CHAOST2_Superpix}" ;;
    ct) : "${DATASET:=SABS_Superpix}" ;;
esac
case "${EXPERIMENT:-}" in
    mri_ct_s?_l0) : "${LABEL_SETS:=0}" ;; # kidneys are tested
    mri_ct_s?_l1) : "${LABEL_SETS:=1}" ;; # liver and spleen are tested
esac
case "${EXPERIMENT:-},${MODALITY:-}" in # setting 2: the tested organs' numbers in the data set
    mri_ct_s2_l0,*) : "${EXCLU:=[2,3]}" ;;
    mri_ct_s2_l1,mri) : "${EXCLU:=[1,4]}" ;;
    mri_ct_s2_l1,ct) : "${EXCLU:=[1,6]}" ;;
esac
: "${ALL_EV:=0 1 2 3 4}"                  # folds that are tested, one run each
: "${EXCLU:=[]}"                          # test classes whose slices are left out of training (setting 2)
: "${SEED:=1234}"
: "${N_PART:=3}"                          # parts of a scan, one support slice each
: "${SUPERPIX_SCALE:=MIDDLE}"
: "${NWORKER:=4}"
case "${PROTOCOL:-}" in
    adnet) : "${SUPP_ID:=[2]}" ;;         # ADNet's line: one of the test fold
esac
case "${DATASET:-}" in
    CHAOST2*)
        : "${SUPP_ID:=[4]}"               # index of the support scan in the fold
        : "${DATA_DIR:=$ROOT/data/CHAOST2/chaos_MR_T2_normalized}"
        ;;
    SABS*)
        : "${SUPP_ID:=[6]}"
        : "${DATA_DIR:=$ROOT/data/SABS/sabs_CT_normalized}"
        ;;
    *)
        : "${SUPP_ID:=[-1]}"              # the scan after the fold's test scans: the same one
        : "${DATA_DIR:=None}"             # the data set's own default_folder
        ;;
esac

# network
: "${CLSNAME:=grid_proto}"                # ALPNet
: "${PROTO_GRID:=8}"
: "${USEALIGN:=True}"

# starting weights
case "${VARIANT:-}" in
    00_DeepLabV3_Original)                # COCO
        : "${MODELNAME:=dlfcn_res101}" "${USE_COCO_INIT:=True}" "${USE_DENSECL_INIT:=False}"
        ;;
    01_DenseCL_Original)                  # DenseCL on ImageNet, without Stage 1
        : "${MODELNAME:=dlfcn_res101}" "${PRETRAINED_BACKBONE:=$ROOT/pretrained_model/densecl_imagenet_resnet101.pth}"
        ;;
    02_DenseCL_Medical)                   # Stage 1 on ROCO: the method
        : "${MODELNAME:=dlfcn_res101}" "${PRETRAINED_BACKBONE:=$ROOT/pretrained_model/densecl_roco_resnet101.pth}"
        ;;
    03_OtherSSL_Medical/simclr_res50 | 03_OtherSSL_Medical/res50simclr) # others, on the same medical images
        : "${MODELNAME:=dlfcn_res50_mmcv}" "${PRETRAINED_BACKBONE:=$ROOT/pretrained_model/simclr_roco_resnet50.pth}"
        ;;
    03_OtherSSL_Medical/simmim_swin | 03_OtherSSL_Medical/swinsimmim)
        : "${MODELNAME:=dlfcn_swin_mmcv}" "${PRETRAINED_BACKBONE:=$ROOT/pretrained_model/simmim_roco_swin_b.pth}"
        ;;
    03_OtherSSL_Medical/mae_vit | 03_OtherSSL_Medical/vitmae)
        : "${MODELNAME:=dlfcn_vit_mmcv}" "${PRETRAINED_BACKBONE:=$ROOT/pretrained_model/mae_roco_vit_b.pth}"
        ;;
esac
case "$MODE,${VARIANT:-}" in # published as fine-tuning of these weights, without training
    finetune,*/res50simclr | finetune,*/swinsimmim | finetune,*/vitmae)
        [ -n "${SNAPSHOTS:-}${SNAPSHOT_STEP:-}${SELECT:-}" ] || : "${RELOAD:=$PRETRAINED_BACKBONE}"
        ;;
esac
: "${MODELNAME:=dlfcn_res101}"
: "${USE_COCO_INIT:=False}"
: "${USE_DENSECL_INIT:=$([ -n "${PRETRAINED_BACKBONE:-}" ] && echo True || echo False)}"

# optimisation
case "$MODE" in
    train) : "${NSTEP:=100100}" "${LR:=1e-3}" "${SNAPSHOT_INTERVAL:=25000}" ;;
    finetune) : "${NSTEP:=5100}" "${LR:=1e-4}" "${SNAPSHOT_INTERVAL:=1000}" ;;
esac
: "${DECAY:=0.95}"                        # of the learning rate, every 1000 steps
: "${MAX_ITER:=1000}"                     # steps of a pass over the loader
: "${PRINT_INTERVAL:=100}"
: "${SCAN_PER_LOAD:=-1}"                  # -1: all scans at once
: "${MIN_FG_DATA:=1}"
: "${USE_WCE:=True}"                      # class weights 0.05, 1

# testing: what the environment chooses, else the steps that the script names, else the last snapshot
[ -n "${RELOAD:-}${SNAPSHOTS:-}${SELECT:-}" ] || : "${SNAPSHOT_STEP:=${TESTED_STEPS:-}}"
: "${VAL_WSIZE:=2}"                       # pooling window of the local prototypes
: "${Z_MARGIN:=0}"                        # slices scored beyond the organ on both sides
