"""The experiment scripts hold to the published settings and hand them to the right entry point."""

import os
import shlex
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DRIVER = ROOT / "examples" / "run_experiment.sh"
FOLDER = "examples/mri_ct_s1_l0/02_DenseCL_Medical"

MODALITIES = {
    "mri": {
        "dataset": "CHAOST2_Superpix",
        "support_idx": "[4]",
        "path.data_dir": f"{ROOT}/data/CHAOST2/chaos_MR_T2_normalized",
    },
    "ct": {
        "dataset": "SABS_Superpix",
        "support_idx": "[6]",
        "path.data_dir": f"{ROOT}/data/SABS/sabs_CT_normalized",
    },
}
COMMON = {
    "modelname": "dlfcn_res101",
    "clsname": "grid_proto",
    "usealign": "True",
    "proto_grid_size": "8",
    "label_sets": "0",
    "exclude_cls_list": "[]",
    "superpix_scale": "MIDDLE",
    "n_sup_part": "3",
    "num_workers": "4",
    "seed": "1234",
    "path.log_dir": f"{ROOT}/exps/mri_ct_s1_l0/02_DenseCL_Medical",
    "device": "auto",
    "precision": "fp32",
    "use_coco_init": "False",
}
OPTIMISATION = {
    "lr_step_gamma": "0.95",
    "max_iters_per_load": "1000",
    "min_fg_data": "1",
    "print_interval": "100",
    "scan_per_load": "-1",
    "use_wce": "True",
}
MODES = {
    "train": OPTIMISATION
    | {
        "n_steps": "100100",
        "optim.lr": "1e-3",
        "save_snapshot_every": "25000",
        "use_densecl_init": "True",
        "pretrained_backbone": f"{ROOT}/pretrained_model/densecl_roco_resnet101.pth",
    },
    "test": {"use_densecl_init": "False", "val_wsize": "2", "z_margin": "0"},
    "ft_train": OPTIMISATION
    | {"n_steps": "5100", "optim.lr": "1e-4", "save_snapshot_every": "1000", "use_densecl_init": "False"},
    "ft_test": {"use_densecl_init": "False", "val_wsize": "2", "z_margin": "0"},
}
ENTRIES = {"train": "training.py", "test": "validation.py", "ft_train": "finetuning.py", "ft_test": "validation.py"}


def script(mode: str, modality: str) -> Path:
    return ROOT / FOLDER / f"{mode}_ssl_abdominal_{modality}_densecl_5_fold.sh"


def run(path: Path | str, *arguments: str, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess:
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return subprocess.run(
        ["bash", str(path), *arguments], cwd=cwd, env=kept | environment, capture_output=True, text=True, timeout=60
    )


def commands(output: str) -> list[tuple[str, dict[str, str]]]:
    """(entry point, settings) of every command that a dry run printed."""
    found = []
    for line in output.splitlines():
        if line.startswith("["):
            continue
        words = shlex.split(line)
        assert words[2] == "with"
        found.append((words[1], dict(word.split("=", 1) for word in words[3:])))
    return found


@pytest.mark.parametrize("modality", MODALITIES)
@pytest.mark.parametrize("mode", MODES)
def test_a_script_holds_exactly_the_published_settings(mode: str, modality: str, tmp_path: Path):
    reload = "/somewhere/25000.pth"
    result = run(script(mode, modality), DRY_RUN="1", RELOAD=reload, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    printed = commands(result.stdout)
    assert len(printed) == 5
    for fold, (entry, settings) in enumerate(printed):
        expected = COMMON | MODALITIES[modality] | MODES[mode]
        expected |= {"eval_fold": str(fold), "exp_prefix": f"{mode}_vfold{fold}"}
        if mode != "train":
            expected["reload_model_path"] = reload
        assert settings == expected
        assert entry == f"{ROOT}/Stage2/{ENTRIES[mode]}"


def test_the_environment_and_arguments_win():
    result = run(
        script("train", "mri"),
        "print_interval=7",
        DRY_RUN="1",
        ALL_EV="1 4",
        NSTEP="200",
        DATA_DIR="my data",
        DEVICE="cpu",
    )
    printed = commands(result.stdout)
    assert [settings["eval_fold"] for _, settings in printed] == ["1", "4"]
    for _, settings in printed:
        assert settings["n_steps"] == "200"
        assert settings["path.data_dir"] == "my data"
        assert settings["device"] == "cpu"
        assert settings["print_interval"] == "7"


def test_a_script_works_from_inside_stage2():
    direct = run(script("train", "mri"), DRY_RUN="1")
    linked = run(f"{FOLDER}/{script('train', 'mri').name}", cwd=ROOT / "Stage2", DRY_RUN="1")
    assert linked.returncode == 0, linked.stderr
    assert linked.stdout == direct.stdout


def make_snapshot(log_dir: Path, prefix: str, run_id: int, step: int) -> Path:
    path = log_dir / f"mySSL_{prefix}_CHAOST2_Superpix_sets_0_1shot" / str(run_id) / "snapshots" / f"{step}.pth"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def test_the_latest_snapshot_of_the_right_run_is_taken(tmp_path: Path):
    make_snapshot(tmp_path, "train_vfold0", 2, 300)
    trained = make_snapshot(tmp_path, "train_vfold0", 10, 100)
    older = make_snapshot(tmp_path, "train_vfold0", 10, 50)
    tuned = make_snapshot(tmp_path, "ft_train_vfold0", 1, 5)
    taken = {}
    for mode in ("test", "ft_train", "ft_test"):
        result = run(script(mode, "mri"), DRY_RUN="1", ALL_EV="0", LOGDIR=str(tmp_path))
        ((_, settings),) = commands(result.stdout)
        taken[mode] = settings["reload_model_path"]
        assert f"snapshot {taken[mode]}" in result.stdout
    assert taken == {"test": str(trained), "ft_train": str(trained), "ft_test": str(tuned)}
    result = run(script("test", "mri"), DRY_RUN="1", ALL_EV="0", LOGDIR=str(tmp_path), SNAPSHOT_STEP="50")
    assert commands(result.stdout)[0][1]["reload_model_path"] == str(older)


def test_reload_none_tests_the_untrained_network():
    result = run(script("test", "mri"), DRY_RUN="1", ALL_EV="0", RELOAD="none", RUN_NAME="untrained")
    ((_, settings),) = commands(result.stdout)
    assert "reload_model_path" not in settings
    assert settings["exp_prefix"] == "untrained_vfold0"


def test_a_missing_snapshot_is_one_sentence_and_stops(tmp_path: Path):
    result = run(script("test", "mri"), LOGDIR=str(tmp_path))
    assert result.returncode != 0
    assert "train this experiment first" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_the_first_failure_stops_the_folds(tmp_path: Path):
    """A copy of the driver beside a stub entry point that fails at fold 1."""
    (tmp_path / "examples").mkdir()
    (tmp_path / "Stage2").mkdir()
    copy = tmp_path / "examples" / DRIVER.name
    copy.write_text(DRIVER.read_text())
    (tmp_path / "Stage2" / "training.py").write_text(
        "import sys\nprint('ran', sys.argv[-1])\nsys.exit(3 if sys.argv[-1] == 'eval_fold=1' else 0)\n"
    )
    settings = dict.fromkeys(("SEED", "NSTEP", "LR", "DECAY", "MAX_ITER", "SNAPSHOT_INTERVAL", "PRINT_INTERVAL"), "1")
    settings |= dict.fromkeys(("MIN_FG_DATA", "SCAN_PER_LOAD", "USE_WCE", "USE_COCO_INIT", "USE_DENSECL_INIT"), "1")
    settings |= dict.fromkeys(("PRETRAINED_BACKBONE", "DATASET", "LABEL_SETS", "EXCLU", "MODELNAME", "CLSNAME"), "1")
    settings |= dict.fromkeys(("USEALIGN", "PROTO_GRID", "SUPERPIX_SCALE", "SUPP_ID", "N_PART", "NWORKER"), "1")
    result = run(copy, "train", ALL_EV="0 1 2", DATA_DIR="d", LOGDIR="l", **settings)
    assert result.returncode == 3
    assert "ran eval_fold=0" in result.stdout
    assert "ran eval_fold=1" in result.stdout
    assert "eval_fold=2" not in result.stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "expected a mode"),
        (["fly"], "mode 'fly' is unknown"),
        (["train"], "DATASET is not set"),
        (["train", "word"], "not of the form key=value"),
    ],
)
def test_the_driver_names_what_is_wrong(arguments: list[str], sentence: str):
    result = run(DRIVER, *arguments)
    assert result.returncode == 2
    assert sentence in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_help_is_shown_by_scripts_and_driver():
    assert run(script("ft_test", "ct"), "--help").stdout == run(DRIVER, "--help").stdout
    assert run(DRIVER, "--help").stdout.startswith("Usage: run_experiment.sh")
