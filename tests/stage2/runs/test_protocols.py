"""Whole tests by ADNet's protocol and over every support: what results.json says, and what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
from stage2.toy_encoder import PLACE

from Stage2 import finetuning, training, validation
from Stage2.io.nifti import read_voxels
from Stage2.models.registry import ENCODERS
from Stage2.reporting.experiments import group_runs
from Stage2.reporting.overall import overall_results
from Stage2.reporting.runs import find_tested_runs, load_results
from Stage2.reporting.summaries import fold_tables
from Stage2.reporting.supports import support_tables
from Stage2.reporting.tables import as_markdown
from Stage2.run_folders.layout import list_runs, list_snapshots, read_results, read_scalars


@pytest.fixture(scope="module")
def shared(cohort_folder, tmp_path_factory):
    """Settings of quick runs, in a log folder of their own."""
    path = {"data_dir": str(cohort_folder), "log_dir": str(tmp_path_factory.mktemp("exps"))}
    return {
        "modelname": "toy_here", "path": path,
        "num_workers": 0, "device": "cpu", "n_steps": 1, "picture_every": 0,
    }  # fmt: skip


@pytest.fixture(scope="module")
def run(shared):
    """Runs an entry point; gives the run folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(ENCODERS, "toy_here", PLACE)

        def run_it(experiment, prefix: str, **changes) -> Path:
            experiment.run(config_updates={**shared, "exp_prefix": prefix, **changes})
            return list_runs(Path(shared["path"]["log_dir"]) / f"mySSL_{prefix}_CHAOST2_Superpix_sets_0_1shot")[-1]

        yield run_it


@pytest.fixture(scope="module")
def snapshot(run) -> str:
    return str(list_snapshots(run(training.experiment, "train_vfold0"))[-1][1])


@pytest.fixture(scope="module")
def tested(run, snapshot) -> dict[str, Path]:
    """Name -> run folder of tests of one snapshot."""
    start = {"reload_model_path": snapshot}
    runs = {"paper": run(validation.experiment, "test_vfold0", **start)}
    for place in (0, 4):
        runs[f"paper {place}"] = run(validation.experiment, f"one{place}_vfold0", support_idx=[place], **start)
    for protocol in ("paper", "clean", "adnet"):
        changes = {"protocol": protocol, "support_idx": "all", **start}
        runs[f"{protocol} all"] = run(validation.experiment, "test_vfold0", **changes)
    runs["adnet"] = run(validation.experiment, "test_vfold0", protocol="adnet", **start)
    runs["adnet 3"] = run(validation.experiment, "cat_vfold0", protocol="adnet", support_idx=[3], **start)
    return runs


def test_adnet_takes_its_folds_support_and_statistics(tested):
    results = read_results(tested["adnet"])
    told = [results[name] for name in ("protocol", "fold_scheme", "support_idx", "exclude_rule", "ct_statistics")]
    assert told == ["adnet", "overlapping", [2], "any", None]  # MR has no statistics of a fold
    assert results["support"]["RK"][0]["scan"] == "2"
    assert [row["scan"] for row in results["scans"] if row["class"] == "RK"] == ["0", "1", "3", "4"]
    config = json.loads((tested["adnet"] / "config.json").read_text())
    assert [config[name] for name in ("fold_scheme", "ct_statistics", "support_idx")] == ["overlapping", "volume", [2]]
    assert read_results(tested["adnet 3"])["support"]["LK"][0]["scan"] == "3"
    assert "adnet_mar_val_batches_meanDice" in read_scalars(tested["adnet"])


def test_adnet_segments_the_slices_that_show_the_class_alone(tested, cohort_folder):
    for label in (2, 3):
        mask = read_voxels(tested["adnet"] / "interm_preds" / f"scan_0_label_{label}.nii.gz")
        shown = (read_voxels(cohort_folder / "label_0.nii.gz") == label).any(axis=(1, 2))
        assert not mask[~shown].any()


def test_the_paper_protocol_is_told_as_the_published_one(tested):
    results = read_results(tested["paper"])
    assert [results[name] for name in ("fold_scheme", "support_idx", "exclude_rule")] == ["disjoint", [-1], "any"]
    assert "supports" not in results and "published_support" not in results


def test_every_support_is_the_tests_of_each_support(tested):
    results = load_results(tested["paper all"])
    assert [own["scan"] for own in results["supports"]] == ["0", "1", "2", "3", "4"]
    assert (results["published_support"], results["left_out_supports"]) == ("4", [])
    means = [own["mean"]["dice"] for own in results["supports"]]
    for place in (0, 4):
        own, alone = results["supports"][place], read_results(tested[f"paper {place}"])
        assert [(row["class"], row["scan"]) for row in own["scans"]] == [
            (row["class"], row["scan"]) for row in alone["scans"]
        ]
        for row, other in zip(own["scans"], alone["scans"], strict=True):
            assert row["dice"] == pytest.approx(other["dice"], abs=1e-3)
        assert own["support"] == alone["support"]
        assert means[place] == pytest.approx(alone["mean"]["dice"], abs=1e-3)
    over = results["over_supports"]["mean"]["dice"]
    assert results["mean"]["dice"] == over["mean"] == pytest.approx(np.mean(means))
    assert over["sd"] == pytest.approx(np.std(means, ddof=1))
    assert (over["worst"], over["best"]) == pytest.approx((min(means), max(means)))
    assert (over["supports"], over["scans"]) == (5, 4)
    assert over["low"] <= over["mean"] <= over["high"]
    masks = tested["paper all"] / "interm_preds"
    assert sorted(path.name for path in masks.iterdir()) == [f"support_{scan}" for scan in "01234"]
    assert not (masks / "support_0" / "scan_0_label_2.nii.gz").exists()


def test_every_support_of_the_other_protocols(tested):
    clean, adnet = (load_results(tested[f"{name} all"]) for name in ("clean", "adnet"))
    assert (adnet["published_support"], len(adnet["supports"])) == ("2", 5)
    (published,) = [own for own in adnet["supports"] if own["scan"] == "2"]
    assert published["mean"]["dice"] == pytest.approx(read_results(tested["adnet"])["mean"]["dice"], abs=1e-3)
    assert {row["scan"] for row in adnet["scans"]} == set("01234")
    assert clean["mean"]["full_volume"]["dice"] == pytest.approx(
        np.mean([own["mean"]["full_volume"]["dice"] for own in clean["supports"]])
    )


def test_no_row_holds_two_protocols(tested, shared):
    experiments = group_runs(find_tested_runs([Path(shared["path"]["log_dir"])]))
    of_test = [one for one in experiments if "test_vfold" in one.name]
    assert sorted((one.setting.protocol, one.setting.supports) for one in of_test) == [
        ("adnet", "[2]"), ("adnet", "all"), ("clean", "all"), ("paper", ""), ("paper", "all"),
    ]  # fmt: skip
    titles = [overall.title for overall in overall_results(of_test)]
    assert len(set(titles)) == 5
    assert "CHAOST2, setting 1, adnet protocol, support [2] of the fold" in titles
    assert "CHAOST2, setting 1, paper protocol, every support in turn" in titles
    text = "\n".join(map(as_markdown, [*support_tables(of_test), *fold_tables(of_test)]))
    assert "Protocol `adnet`, every support in turn; CHAOST2, label set 0" in text
    assert "95 % over scans" in text and "sd over supports" in text
    published = [overall for overall in overall_results(of_test) if overall.published]
    assert [overall.title for overall in published] == ["CHAOST2, setting 1, paper protocol"]


def sentence(capsys, experiment, settings, **changes) -> str:
    """The one line that refuses a run."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as end:
        experiment.run(config_updates={**settings, **changes})
    assert end.value.code == 1
    return next(line for line in capsys.readouterr().err.splitlines() if line.startswith("error: "))


@pytest.mark.parametrize("experiment", [training.experiment, finetuning.experiment], ids=["training", "fine-tuning"])
def test_every_support_is_of_tests_alone(experiment, shared, snapshot, capsys):
    before = sorted(Path(shared["path"]["log_dir"]).iterdir())
    error = sentence(capsys, experiment, shared, support_idx="all", exp_prefix="refused", reload_model_path=snapshot)
    assert error == (
        "error: support_idx=all is of tests; training and fine-tuning take support scans by number, as in "
        "support_idx=[-1]."
    )
    assert sorted(Path(shared["path"]["log_dir"]).iterdir()) == before


def test_scans_that_were_trained_on_are_not_tested(run, shared, snapshot, capsys):
    error = sentence(capsys, validation.experiment, shared, reload_model_path=snapshot, eval_fold=1)
    assert "was trained on scans to be tested (5, 6, 7), with eval_fold=0, fold_scheme=disjoint in" in error
    tuned = run(finetuning.experiment, "ft_vfold0", reload_model_path=snapshot)
    last = str(list_snapshots(tuned)[-1][1])
    error = sentence(capsys, validation.experiment, shared, reload_model_path=last, protocol="adnet")
    assert "scans to be tested (4), with eval_fold=0, fold_scheme=disjoint, support_idx=[-1]" in error
    error = sentence(capsys, validation.experiment, shared, reload_model_path=last, eval_fold=1)
    assert "(4, 5, 6, 7)" in error  # the annotated support scan of fine-tuning too
    run(validation.experiment, "after_vfold0", reload_model_path=last)  # its own fold and scheme

    overlapping = {"fold_scheme": "overlapping", "support_idx": [2]}
    tuned = run(finetuning.experiment, "ft_over_vfold0", reload_model_path=snapshot, **overlapping)
    last = str(list_snapshots(tuned)[-1][1])
    error = sentence(capsys, validation.experiment, shared, reload_model_path=last)
    assert "scans to be tested (2), with eval_fold=0, fold_scheme=overlapping, support_idx=[2]" in error
    run(validation.experiment, "after_over_vfold0", reload_model_path=last, protocol="adnet")


def test_a_support_without_the_class_is_named_or_left_out(run, shared, snapshot, cohort_folder, tmp_path, capsys):
    folder = tmp_path / "cohort"
    folder.mkdir()
    for path in cohort_folder.iterdir():
        (folder / path.name).symlink_to(path)
    class_map = json.loads((cohort_folder / "classmap_1.json").read_text())
    class_map["LK"]["2"] = []
    (folder / "classmap_1.json").unlink()
    (folder / "classmap_1.json").write_text(json.dumps(class_map))
    changes = {"path": {**shared["path"], "data_dir": str(folder)}, "reload_model_path": snapshot, "protocol": "adnet"}
    error = sentence(capsys, validation.experiment, shared, **changes)
    assert "support scan 2 of" in error and "has no slice with 1 or more pixels of LK" in error
    results = read_results(run(validation.experiment, "lacking_vfold0", support_idx="all", **changes))
    assert (results["left_out_supports"], len(results["supports"])) == (["2"], 4)
    for scan in "0134":
        class_map["LK"][scan] = []
    (folder / "classmap_1.json").write_text(json.dumps(class_map))
    error = sentence(capsys, validation.experiment, shared, support_idx="all", **changes)
    assert "none of the scans 0, 1, 2, 3, 4 can be the support" in error
