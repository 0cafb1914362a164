"""Runs are grouped as experiments: by name, setting and snapshot, never across protocols."""

from pathlib import Path

import pytest
from stage2.reporting.result_folders import adapted, at_step, make_results, write_run

from Stage2.reporting.experiments import (
    BEST,
    find_experiment,
    group_runs,
    published_setting,
)
from Stage2.reporting.names import short_name
from Stage2.reporting.runs import find_tested_runs

NAME = "mri_ct_s1_l0/02/mySSL_test_vfold{}_CHAOST2_Superpix_sets_0_1shot"


def test_folds_belong_together_and_the_latest_run_counts(tmp_path: Path):
    write_run(tmp_path, NAME.format(0), 9, make_results({"RK": [0.9]}, fold=0))
    write_run(tmp_path, NAME.format(0), 10, make_results({"RK": [0.2]}, fold=0))
    write_run(tmp_path, NAME.format(3), 1, make_results({"RK": [0.4]}, fold=3))
    write_run(tmp_path, NAME.format(3), 2, make_results({"RK": [0.5]}, fold=3, protocol="clean"))
    clean, paper = group_runs(find_tested_runs([tmp_path]))
    assert (clean.setting.protocol, paper.setting.protocol) == ("clean", "paper")
    assert (short_name(paper.name), paper.snapshot) == ("mri_ct_s1_l0/02/test", "untrained")
    assert list(paper.values("RK")) == [0.2, 0.4]
    assert paper.missing == [(1, 1234), (2, 1234), (4, 1234)]
    assert published_setting(paper) == 1


def test_seeds_are_runs_of_one_experiment(tmp_path: Path):
    for run, seed in enumerate((1, 2), start=1):
        write_run(tmp_path, NAME.format(0), run, make_results({"RK": [seed / 10, seed / 5]}), seed=seed)
    of_seed_2 = NAME.format(1).replace("/02/", "/02_seed2/")  # the driver keeps another seed in a folder of its own
    write_run(tmp_path, of_seed_2, 1, make_results({"RK": [0.7]}, fold=1), seed=2)
    (one,) = group_runs(find_tested_runs([tmp_path]))
    assert one.seeds == [1, 2]
    assert len(one.missing) == 7
    assert list(one.values("RK")) == pytest.approx([0.15, 0.3, 0.7])
    assert dict(one.scan_scores("RK")) == pytest.approx({(0, "0"): 0.15, (0, "1"): 0.3, (1, "10"): 0.7})


def test_steps_are_apart_and_the_best_of_every_fold_is_added(tmp_path: Path):
    dice = {(0, 100): 0.3, (0, 1000): 0.2, (1, 100): 0.1, (1, 1000): 0.6}
    for number, ((fold, step), value) in enumerate(dice.items(), start=1):
        write_run(tmp_path, NAME.format(fold), number, make_results({"RK": [value]}, fold=fold, **at_step(step)))
        clean = make_results({"RK": [value]}, fold=fold, protocol="clean", **at_step(step))
        write_run(tmp_path, NAME.format(fold), 10 + number, clean)
    chosen = make_results({"RK": [0.5]}, fold=0, selected_by="train_scans", **at_step(1000))
    write_run(tmp_path, NAME.format(0), 99, chosen)
    experiments = group_runs(find_tested_runs([tmp_path]))
    found = {(one.setting.protocol, one.snapshot): list(one.values("RK")) for one in experiments}
    assert found == {
        ("clean", "step 100"): [0.3, 0.1],
        ("clean", "step 1000"): [0.2, 0.6],  # no best one: the clean protocol looks at no test label
        ("paper", BEST): [0.3, 0.6],
        ("paper", "chosen by train_scans"): [0.5],
        ("paper", "step 100"): [0.3, 0.1],
        ("paper", "step 1000"): [0.2, 0.6],
    }
    assert [key[1] for key in found][:2] == ["step 100", "step 1000"]


def test_adapted_networks_are_experiments_of_their_own(tmp_path: Path):
    """Apart by start and budget; no best step of them; the seed is that of the test; old results are of prototypes."""
    trained = tmp_path / "exps" / "train" / "1"
    (trained / "snapshots").mkdir(parents=True)
    (trained / "config.json").write_text('{"seed": 77}')
    tests = tmp_path / "exps"
    for number, step in enumerate((100, 1000), start=2):
        of_step = {"snapshot": str(trained / "snapshots" / f"{step}.pth"), "step": step}
        write_run(tests, NAME.format(0), number, make_results({"RK": [step / 2000]}, **of_step))
        again = make_results({"RK": [0.9]}, **of_step, **adapted())
        write_run(tests, NAME.format(0), 10 + number, again)
    other = make_results({"RK": [0.8]}, **adapted("weights/starting_resnet18.safetensors", "200 steps"))
    write_run(tests, NAME.format(0), 20, other)
    write_run(tests, NAME.format(0), 1, make_results({"RK": [0.5]}, method="prototypes", **of_step))
    experiments = group_runs(find_tested_runs([tests]))
    found = {(one.setting.method, one.snapshot): (list(one.values("RK")), one.seeds) for one in experiments}
    assert found == {
        ("prototypes", BEST): ([0.5], [77]),
        ("prototypes", "step 100"): ([0.05], [77]),
        ("prototypes", "step 1000"): ([0.5], [77]),
        ("adapted", "adapted from step 100, 3 minutes of processor time"): ([0.9], [1234]),
        ("adapted", "adapted from step 1000, 3 minutes of processor time"): ([0.9], [1234]),
        ("adapted", "adapted from starting_resnet18.safetensors, 200 steps"): ([0.8], [1234]),
    }
    assert find_experiment(experiments, "prototypes 1000").snapshot == "step 1000"
    of_adapted = find_experiment(experiments, "adapted 1000")
    assert of_adapted.setting.words().startswith("Protocol `paper`, method `adapted`; CHAOST2, label set 0;")


@pytest.mark.parametrize(
    "change", [{"method": "unet"}, {"method": "adapted"}, {**adapted(), "adaptation": {"start": 3}}]
)
def test_methods_that_no_run_writes_are_left_out(tmp_path: Path, change: dict):
    write_run(tmp_path, NAME.format(0), 1, make_results({"RK": [0.5]}))
    write_run(tmp_path, NAME.format(1), 1, make_results({"RK": [0.5]}, fold=1) | change)
    assert [run.results["fold"] for run in find_tested_runs([tmp_path])] == [0]


def test_tests_with_other_heads_and_settings_and_supports_are_apart(tmp_path: Path):
    """Old results, which name none of them, are as those with the published ones."""
    usual = {"clsname": "grid_proto", "val_wsize": 2, "n_sup_part": 3, "z_margin": 0, "min_fg_data": 1}
    changes = [
        {}, {**usual, "support_idx": [4]}, usual | {"clsname": "global_proto"}, usual | {"val_wsize": 4},
        usual | {"support_idx": [0]}, {"clsname": "global_proto", **at_step(9)},
    ]  # fmt: skip
    for number, change in enumerate(changes, start=1):
        results = make_results({"RK": [number / 10]}, **{**at_step(5), **change})
        write_run(tmp_path, NAME.format(0), number, results)
    found = {
        (one.setting.way, one.snapshot): list(one.values("RK")) for one in group_runs(find_tested_runs([tmp_path]))
    }
    assert found == {
        ("paper protocol", "step 5"): [0.2],
        ("paper protocol", "step 5, head global_proto"): [0.3],
        ("paper protocol", "step 9, head global_proto"): [0.6],
        ("paper protocol", f"{BEST}, head global_proto"): [0.6],
        ("paper protocol, val_wsize=4", "step 5"): [0.4],
        ("paper protocol, support [0] of the fold", "step 5"): [0.5],
    }


@pytest.mark.parametrize(
    ("path", "snapshot"),
    [
        ("exps/mySSL_train_vfold{}_x/{}/snapshots/ema_7.pth", "moving average of step 7"),
        ("weights/fold_{}.pth", "weights/fold_*.pth"),
        ("weights/vfold{}/best.pth", "weights/vfold*/best.pth"),
    ],
)
def test_snapshots_that_tell_no_step_are_one_experiment_over_folds(tmp_path: Path, path: str, snapshot: str):
    for fold in range(5):
        results = make_results({"RK": [0.5]}, fold=fold, snapshot=path.format(fold, 9 - fold))
        write_run(tmp_path, NAME.format(fold), 1, results)
    (one,) = group_runs(find_tested_runs([tmp_path]))
    assert (one.snapshot, one.missing) == (snapshot, [])


def test_the_order_of_excluded_classes_tells_nothing_apart(tmp_path: Path):
    for fold, excluded in enumerate(([2, 3], [3, 2])):
        write_run(tmp_path, NAME.format(fold), 1, make_results({"RK": [0.5]}, fold=fold, exclude_classes=excluded))
    (one,) = group_runs(find_tested_runs([tmp_path]))
    assert one.setting.excluded == (2, 3)


@pytest.mark.parametrize(
    ("excluded", "label_set", "dataset", "setting"),
    [([], 1, "CHAOST2", 1), ([3, 2], 0, "CHAOST2", 2), ([1, 4], 0, "CHAOST2", None), ([], 0, "heart", None)],
)
def test_published_settings(tmp_path: Path, excluded, label_set, dataset, setting):
    results = make_results({"RK": [0.5]}, exclude_classes=excluded, label_set=label_set, dataset=dataset)
    write_run(tmp_path, NAME.format(0), 1, results)
    assert published_setting(group_runs(find_tested_runs([tmp_path]))[0]) == setting


def test_experiments_are_found_by_words(tmp_path: Path):
    for variant in ("00_DeepLabV3_Original", "02_DenseCL_Medical"):
        for kind in ("test", "ft_test"):
            write_run(tmp_path, f"{variant}/mySSL_{kind}_vfold0", 1, make_results({"RK": [0.5]}))
    experiments = group_runs(find_tested_runs([tmp_path]))
    assert find_experiment(experiments, "DenseCL ft_test").name == "02_DenseCL_Medical/mySSL_ft_test_vfold*"
    with pytest.raises(ValueError, match=r"'DenseCL' fits 2 experiments; give words that only one .* contains: '02"):
        find_experiment(experiments, "DenseCL")
    with pytest.raises(ValueError, match="fits no experiment"):
        find_experiment(experiments, "SimCLR")
