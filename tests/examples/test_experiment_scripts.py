"""Every experiment script states the published experiment: its settings, as the driver hands them to the entry point.

What is particular to an experiment is derived from the catalog: the label set's test classes are those left out in
setting 2, and the support scan is the one after the fold's test scans.
"""

import importlib.util
import os
import re
import subprocess
from pathlib import Path

import pytest

from Stage2.datasets.catalog import get_dataset
from Stage2.launching.plan import MODES, Experiment, plan, read_folds

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
WEIGHTS = f"{ROOT}/pretrained_model"

MODALITIES = {"mri": "CHAOST2_Superpix", "ct": "SABS_Superpix"}
VARIANTS = {  # folder: {name in the script's: (part of LOGDIR, encoder, starting weights)}
    "00_DeepLabV3_Original": {"deeplabv3": ("", "dlfcn_res101", {"use_coco_init": "True"})},
    "01_DenseCL_Original": {"densecl": ("", "dlfcn_res101", f"{WEIGHTS}/densecl_imagenet_resnet101.pth")},
    "02_DenseCL_Medical": {"densecl": ("", "dlfcn_res101", f"{WEIGHTS}/densecl_roco_resnet101.pth")},
    "03_OtherSSL_Medical": {
        "simclr_res50": ("/simclr_res50", "dlfcn_res50_mmcv", f"{WEIGHTS}/simclr_roco_resnet50.pth"),
        "simmim_swin": ("/simmim_swin", "dlfcn_swin_mmcv", f"{WEIGHTS}/simmim_roco_swin_b.pth"),
        "mae_vit": ("/mae_vit", "dlfcn_vit_mmcv", f"{WEIGHTS}/mae_roco_vit_b.pth"),
    },
}
COMMON = {
    "clsname": "grid_proto",
    "usealign": "True",
    "proto_grid_size": "8",
    "superpix_scale": "MIDDLE",
    "n_sup_part": "3",
    "min_fg_data": "1",
    "num_workers": "4",
    "seed": "1234",
    "device": "auto",
    "precision": "fp32",
    "use_coco_init": "False",
    "use_densecl_init": "False",
}
OPTIMISATION = {
    "lr_step_gamma": "0.95",
    "max_iters_per_load": "1000",
    "print_interval": "100",
    "scan_per_load": "-1",
    "use_wce": "True",
}
STEPS = {
    "train": OPTIMISATION | {"n_steps": "100100", "optim.lr": "1e-3", "save_snapshot_every": "25000"},
    "test": {"val_wsize": "2", "z_margin": "0"},
    "ft_train": OPTIMISATION | {"n_steps": "5100", "optim.lr": "1e-4", "save_snapshot_every": "1000"},
    "ft_test": {"val_wsize": "2", "z_margin": "0"},
}
ENTRIES = {"train": "training.py", "test": "validation.py", "ft_train": "finetuning.py", "ft_test": "validation.py"}
EXPERIMENTS = [f"mri_ct_s{setting}_l{label_set}" for setting in (1, 2) for label_set in (0, 1)]

specification = importlib.util.spec_from_file_location("run_folds", ROOT / "tools" / "run_folds.py")
run_folds = importlib.util.module_from_spec(specification)
specification.loader.exec_module(run_folds)


@pytest.fixture(scope="module")
def recorder(tmp_path_factory) -> Path:
    """Stands where the driver starts Python: writes the arguments that it was given."""
    path = tmp_path_factory.mktemp("recorder") / "python"
    path.write_text("#!/usr/bin/env bash\nprintf '%s\\0' \"$@\"\n")
    path.chmod(0o755)
    return path


def handed_over(script: Path, recorder: Path, cwd: Path = ROOT, **environment: str) -> list[str]:
    """What the script and the driver hand to tools/run_folds.py."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    done = subprocess.run(
        ["bash", str(script)],
        cwd=cwd,
        env=kept | {"PYTHON": str(recorder)} | environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    program, *words = done.stdout.split("\0")[:-1]
    assert program == f"{ROOT}/tools/run_folds.py"
    return words


def planned(words: list[str]) -> list[tuple[str, dict[str, str]]]:
    """(entry point, settings) of every run of the words, none of which has a snapshot yet."""
    arguments = run_folds.build_parser().parse_args(words)
    experiment = Experiment(arguments.mode, arguments.settings, arguments.logs, select=arguments.select)
    folds = read_folds(arguments.folds, experiment.parsed["dataset"])
    entry = MODES[arguments.mode].entry
    jobs = plan(experiment, folds, tolerant=True)
    assert all(job.log.parent == arguments.logs for job in jobs)
    return [(entry, dict(word.split("=", 1) for word in job.words)) for job in jobs]


def expected(experiment: str, folder: str, name: str, modality: str, step: str) -> dict[str, str]:
    """The published settings, but for those of a fold."""
    setting, label_set = map(int, re.fullmatch(r"mri_ct_s(\d)_l(\d)", experiment).groups())
    data_set = get_dataset(MODALITIES[modality])
    excluded = data_set.test_labels(label_set) if setting == 2 else []
    part, encoder, weights = VARIANTS[folder][name]
    settings = COMMON | STEPS[step]
    if step == "train" and isinstance(weights, dict):
        settings |= weights
    elif step == "train":
        settings |= {"use_densecl_init": "True", "pretrained_backbone": weights}
    return settings | {
        "dataset": MODALITIES[modality],
        "label_sets": str(label_set),
        "exclude_cls_list": str(excluded).replace(" ", ""),
        "support_idx": f"[{data_set.fold_boundaries[1]}]",
        "modelname": encoder,
        "path.data_dir": f"{ROOT}/{data_set.default_folder}",
        "path.log_dir": f"{ROOT}/exps/{experiment}/{folder}{part}",
    }


@pytest.mark.parametrize("folder", VARIANTS)
@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_scripts_hold_exactly_the_published_settings(experiment: str, folder: str, recorder: Path, tmp_path: Path):
    scripts = {
        f"{step}_ssl_abdominal_{modality}_{name}_5_fold.sh": (name, modality, step)
        for name in VARIANTS[folder]
        for modality in MODALITIES
        for step in STEPS
    }
    found = {path.name for path in (EXAMPLES / experiment / folder).iterdir()}
    assert found == set(scripts)
    for script, (name, modality, step) in scripts.items():
        runs = planned(handed_over(EXAMPLES / experiment / folder / script, recorder, cwd=tmp_path))
        assert len(runs) == get_dataset(MODALITIES[modality]).n_folds == 5
        for fold, (entry, settings) in enumerate(runs):
            assert entry == ENTRIES[step], script
            of_fold = {"eval_fold": str(fold), "exp_prefix": f"{step}_vfold{fold}"}
            if step != "train":
                source = "train" if step != "ft_test" else "ft_train"
                of_fold["reload_model_path"] = f"<{source} snapshot of fold {fold}>"
            assert settings == expected(experiment, folder, name, modality, step) | of_fold, script


def test_the_matrix_is_whole():
    folders = {path.name for path in EXAMPLES.iterdir() if path.name.startswith("mri_ct")}
    assert folders == set(EXPERIMENTS)
    for experiment in EXPERIMENTS:
        assert {path.name for path in (EXAMPLES / experiment).iterdir()} == set(VARIANTS)


def test_a_script_says_its_experiment_and_nothing_else():
    for path in EXAMPLES.glob("mri_ct_*/*/*.sh"):
        text = path.read_text()
        assert text.count("\n") <= 9, path
        setting, label_set = re.search(r"_s(\d)_l(\d)/", str(path)).groups()
        tested = re.search(rf"LABEL_SETS:-{label_set}.*# (.*) are tested", text)[1]
        assert ("kidneys" in tested) == (label_set == "0") and f"# setting {setting}:" in text, path


SCRIPT = "examples/mri_ct_s2_l1/02_DenseCL_Medical/train_ssl_abdominal_mri_densecl_5_fold.sh"


def test_every_setting_can_be_given_from_the_environment(recorder: Path):
    given = {
        "DATASET": "SABS", "LABEL_SETS": "0", "EXCLU": "[9]", "MODELNAME": "m", "CLSNAME": "c", "USEALIGN": "u",
        "PROTO_GRID": "p", "SUPERPIX_SCALE": "s", "SUPP_ID": "[7]", "N_PART": "9", "NWORKER": "8", "SEED": "5",
        "NSTEP": "3", "LR": "2", "DECAY": "d", "MAX_ITER": "i", "SNAPSHOT_INTERVAL": "v", "PRINT_INTERVAL": "w",
        "MIN_FG_DATA": "f", "SCAN_PER_LOAD": "l", "USE_WCE": "e", "USE_COCO_INIT": "o", "USE_DENSECL_INIT": "True",
        "PRETRAINED_BACKBONE": "b", "DATA_DIR": "my data", "LOGDIR": "my runs", "DEVICE": "cpu", "PRECISION": "bf16",
        "ALL_EV": "3 1",
    }  # fmt: skip
    runs = planned(handed_over(ROOT / SCRIPT, recorder, **given))
    assert [settings["eval_fold"] for _, settings in runs] == ["3", "1"]
    values = {*runs[0][1].values()}
    assert {value for name, value in given.items() if name != "ALL_EV"} <= values
    text = subprocess.run(["bash", str(ROOT / SCRIPT), "--help"], capture_output=True, text=True).stdout
    assert all(name in text for name in given)


def test_folders_of_runs_and_logs(recorder: Path, tmp_path: Path):
    def folders(**environment: str) -> tuple[str, str]:
        words = handed_over(ROOT / SCRIPT, recorder, cwd=tmp_path, **environment)
        logs = words[words.index("--logs") + 1]
        (log_dir,) = [word.partition("=")[2] for word in words if word.startswith("path.log_dir=")]
        return log_dir, logs

    name = "mri_ct_s2_l1/02_DenseCL_Medical"
    assert folders() == (f"{ROOT}/exps/{name}", f"{ROOT}/logs/{name}")
    assert folders(SEED="7") == (f"{ROOT}/exps/{name}_seed7", f"{ROOT}/logs/{name}_seed7")
    assert folders(LOGDIR=f"{ROOT}/exps/mine") == (f"{ROOT}/exps/mine", f"{ROOT}/logs/mine")
    assert folders(LOGDIR="here") == ("here", f"{tmp_path}/here/logs")
    assert folders(LOGS="there")[1] == "there"


def test_a_script_works_from_inside_stage2(recorder: Path):
    direct = handed_over(ROOT / SCRIPT, recorder)
    assert handed_over(Path(SCRIPT), recorder, cwd=ROOT / "Stage2") == direct
