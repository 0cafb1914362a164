# shellcheck shell=bash
# The published settings that all experiments share; examples/run_experiment.sh reads them. What the environment or a
# script has set already stays as it is.

# experiment
: "${ALL_EV:=0 1 2 3 4}"                  # folds that are tested, one run each
: "${EXCLU:=[]}"                          # test classes whose slices are left out of training (setting 2)
: "${SEED:=1234}"
: "${N_PART:=3}"                          # parts of a scan, one support slice each
: "${SUPERPIX_SCALE:=MIDDLE}"
: "${NWORKER:=4}"
case "$DATASET" in
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
    03_OtherSSL_Medical/simclr_res50)     # other self-supervision, on the same medical images
        : "${MODELNAME:=dlfcn_res50_mmcv}" "${PRETRAINED_BACKBONE:=$ROOT/pretrained_model/simclr_roco_resnet50.pth}"
        ;;
    03_OtherSSL_Medical/simmim_swin)
        : "${MODELNAME:=dlfcn_swin_mmcv}" "${PRETRAINED_BACKBONE:=$ROOT/pretrained_model/simmim_roco_swin_b.pth}"
        ;;
    03_OtherSSL_Medical/mae_vit)
        : "${MODELNAME:=dlfcn_vit_mmcv}" "${PRETRAINED_BACKBONE:=$ROOT/pretrained_model/mae_roco_vit_b.pth}"
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

# testing
: "${VAL_WSIZE:=2}"                       # pooling window of the local prototypes
: "${Z_MARGIN:=0}"                        # slices scored beyond the organ on both sides
