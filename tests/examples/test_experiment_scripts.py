"""Every experiment script states the published experiment: its settings, as the driver hands them to the entry point.

What is particular to an experiment is derived from the catalog: the label set's test classes are those left out in
setting 2, and the support scan is the one after the fold's test scans.
"""

import importlib.util
import itertools
import os
import subprocess
from pathlib import Path

import pytest
from examples.experiment_scripts import EXPERIMENTS, MODALITIES, PUBLISHED_STEPS, ROOT, SCRIPTS, WEIGHTS, Script

from Stage2.datasets.catalog import get_dataset
from Stage2.datasets.folds import read_folds
from Stage2.launching.plan import ExperimentLaunch, plan
from Stage2.run_folders.modes import MODES

EXAMPLES = ROOT / "examples"
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
    experiment = ExperimentLaunch(
        arguments.mode, arguments.settings, arguments.logs, select=arguments.select,
        snapshot_steps=arguments.snapshot_steps, reload=arguments.reload,
    )  # fmt: skip
    folds = read_folds(arguments.folds, experiment.parsed["dataset"])
    entry = MODES[arguments.mode].entry
    jobs = plan(experiment, folds, tolerant=True)
    assert all(job.log.parent == arguments.logs for job in jobs)
    return [(entry, dict(word.split("=", 1) for word in job.words)) for job in jobs]


def expected(script: Script) -> dict[str, str]:
    """The published settings, but for those of a fold."""
    setting, label_set = EXPERIMENTS[script.experiment]
    data_set = get_dataset(MODALITIES[script.modality][0])
    excluded = data_set.test_labels(label_set) if setting == 2 else []
    settings = COMMON | STEPS[script.step]
    if script.step == "train" and script.variant.weights is None:
        settings |= {"use_coco_init": "True"}
    elif script.step == "train":
        settings |= {"use_densecl_init": "True", "pretrained_backbone": f"{WEIGHTS}/{script.variant.weights}"}
    return settings | {
        "dataset": MODALITIES[script.modality][0],
        "label_sets": str(label_set),
        "exclude_cls_list": str(excluded).replace(" ", ""),
        "support_idx": f"[{data_set.fold_boundaries[1]}]",
        "modelname": script.variant.encoder,
        "path.data_dir": f"{ROOT}/{data_set.default_folder}",
        "path.log_dir": f"{ROOT}/exps/{script.experiment}/{script.variant.name}",
    }


def expected_starts(script: Script, fold: int) -> list[dict[str, str]]:
    """Where each run of the fold starts from."""
    if script.step == "train":
        return [{}]
    if script.step == "ft_train" and script.variant.only_finetuned:
        return [{"reload_model_path": f"{WEIGHTS}/{script.variant.weights}"}]
    source = "train" if script.step != "ft_test" else "ft_train"
    steps = [f" {step}" for step in PUBLISHED_STEPS.split()] if script.published_steps else [""]
    return [{"reload_model_path": f"<{source} snapshot{step} of fold {fold}>"} for step in steps]


def test_the_scripts_are_those_of_the_table():
    found = {path: path.read_text() for path in EXAMPLES.glob("mri_ct_*/**/*.sh")}
    assert found == {script.path: script.text for script in SCRIPTS}
    assert len(found) == 304 and all(path.stat().st_mode & 0o111 for path in found)


def test_every_published_name_is_there():
    """28 names for each of the four experiments, 112 in all, beside those that tell the variant everywhere."""
    other = ("_res50simclr", "_swinsimmim", "_vitmae")
    kinds = {"00_DeepLabV3_Original": [""], "01_DenseCL_Original": ["_densecl"], "02_DenseCL_Medical": ["_densecl"],
             "03_OtherSSL_Medical": other}  # fmt: skip
    for (folder, suffixes), experiment, modality in itertools.product(kinds.items(), EXPERIMENTS, ("mri", "ct")):
        tasks = ["ft_train_5k_mix", "ft_test_5k_mix"]
        tasks += ["train_ssl", "test_ssl"] if folder != "03_OtherSSL_Medical" else []
        for suffix, task in itertools.product(suffixes, tasks):
            assert (EXAMPLES / experiment / folder / f"{task}_abdominal_{modality}{suffix}_5_fold.sh").is_file()


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_scripts_stand_for_exactly_the_published_settings(experiment: str, recorder: Path, tmp_path: Path):
    for script in (one for one in SCRIPTS if one.experiment == experiment):
        runs = iter(planned(handed_over(script.path, recorder, cwd=tmp_path)))
        for fold in range(5):
            for start in expected_starts(script, fold):
                entry, settings = next(runs)
                of_fold = {"eval_fold": str(fold), "exp_prefix": f"{script.step}_vfold{fold}"} | start
                assert entry == ENTRIES[script.step], script
                settings = {key: value for key, value in settings.items() if not key.startswith("selection")}
                assert settings == expected(script) | of_fold, script
        assert not list(runs), script


def test_what_the_environment_chooses_stands_before_the_published_choice(recorder: Path):
    folder = EXAMPLES / "mri_ct_s1_l0" / "03_OtherSSL_Medical"
    tests, tuning = (folder / f"ft_{step}_5k_mix_abdominal_ct_vitmae_5_fold.sh" for step in ("test", "train"))
    for given in ({"SNAPSHOTS": "all"}, {"SELECT": "test"}, {"RELOAD": "mine.pth"}, {"SNAPSHOT_STEP": "5100"}):
        for script in (tests, tuning):
            words = handed_over(script, recorder, **given)
            assert "--steps" not in words or words[words.index("--steps") + 1] == "5100"
            assert ("--reload" in words) == ("RELOAD" in given)


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


@pytest.mark.parametrize("step", ["train", "test", "ft_train"])
def test_a_protocol_and_what_goes_with_it_are_handed_over_only_where_asked_for(recorder: Path, step: str):
    script = ROOT / SCRIPT.replace("train_ssl", f"{step}_ssl")
    plain = handed_over(script, recorder)
    names = ("protocol=", "fold_scheme=", "exclude_rule=", "ct_statistics=")
    assert not [word for word in plain if word.startswith(names)] and "support_idx=[4]" in plain
    given = {"FOLD_SCHEME": "disjoint", "EXCLUDE_RULE": "all", "CT_STATISTICS": "volume"}
    words = handed_over(script, recorder, PROTOCOL="adnet", **given)
    asked = ["protocol=adnet", "fold_scheme=disjoint", "exclude_rule=all", "ct_statistics=volume", "support_idx=[2]"]
    assert set(asked) <= set(words)
    assert set(handed_over(script, recorder, PROTOCOL="adnet")) & set(asked) == {"protocol=adnet", "support_idx=[2]"}
    assert "support_idx=[3]" in handed_over(script, recorder, PROTOCOL="adnet", SUPP_ID="[3]")
    assert "support_idx=[4]" in handed_over(script, recorder, PROTOCOL="clean")


def test_every_support_is_planned_beside_the_trainings_of_one(recorder: Path):
    script = ROOT / SCRIPT.replace("train_ssl", "test_ssl")
    ((_, settings), *_) = planned(handed_over(script, recorder, SUPP_ID="all", ALL_EV="0"))
    assert settings["support_idx"] == "all"
    assert settings["reload_model_path"] == "<train snapshot of fold 0>"


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


def test_a_script_is_its_own_experiment_whatever_is_set_for_graphs_of_several(recorder: Path):
    several = handed_over(ROOT / SCRIPT, recorder, EXPERIMENTS="mri_ct_s1_l0 mri_ct_s2_l0")
    assert several == handed_over(ROOT / SCRIPT, recorder)


def test_a_script_works_from_inside_stage2(recorder: Path):
    direct = handed_over(ROOT / SCRIPT, recorder)
    assert handed_over(Path(SCRIPT), recorder, cwd=ROOT / "Stage2") == direct
