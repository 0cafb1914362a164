"""Training, fine-tuning and testing through the entry points, on a small cohort with ResNet-18."""

import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import torch

from Stage2 import finetuning, training, validation
from Stage2.datasets.episodes import SuperpixelEpisodes
from Stage2.datasets.volumes import Scan
from Stage2.models.alp import DegenerateEpisodeError
from Stage2.models.few_shot import FewShotSegmenter
from Stage2.optimisation.training import DEGENERATE_LIMIT, Training
from Stage2.run_folders.layout import list_runs, list_snapshots, read_results, read_scalars
from Stage2.runs.event_log import read_events

ROOT = Path(__file__).resolve().parents[2]
OPTIONS = {"window": 2, "align": True, "weigh_classes": True}


def toy_episodes(seed: int = 0) -> SuperpixelEpisodes:
    """Slices of 64 px: one bright and one dark square on noise, each a superpixel."""
    rng = np.random.default_rng(0)
    superpixels = np.zeros((4, 64, 64), dtype=np.int32)
    superpixels[:, 8:30, 8:30] = 1
    superpixels[:, 34:58, 30:56] = 2
    image = rng.normal(0, 0.3, (4, 64, 64)) + np.array([0, 3, -3])[superpixels]
    return SuperpixelEpisodes([Scan("1", image.astype(np.float32), superpixels=superpixels)], excluded={}, seed=seed)


def new_training(seed: int = 0, rate: float = 1e-3) -> Training:
    torch.manual_seed(seed)
    return Training(FewShotSegmenter("dlfcn_res18"), learning_rate=rate, decay=0.95)


def train(training: Training, n_steps: int, n_workers: int = 0, snapshot_every: int = 1000, keep=lambda training: None):
    reports = []
    training.run(
        toy_episodes(),
        n_steps=n_steps,
        n_workers=n_workers,
        report_every=1,
        snapshot_every=snapshot_every,
        on_report=lambda step, scalars: reports.append((step, scalars)),
        on_snapshot=keep,
        **OPTIONS,
    )
    return reports


def assert_same_weights(first, second):
    for (name, one), other in zip(first.state_dict().items(), second.state_dict().values(), strict=True):
        assert torch.equal(one, other), name


def test_some_steps_lower_the_loss():
    training, episodes = new_training(), toy_episodes()
    losses = [np.mean([training.take_step(episodes[e], **OPTIONS)["total_loss"] for e in (0, 1)]) for _ in range(8)]
    assert losses[-1] < 0.7 * losses[0], losses


def test_same_seed_is_the_same_run_with_any_number_of_workers():
    first, second = new_training(), new_training()
    assert train(first, 4) == train(second, 4, n_workers=2)
    assert_same_weights(first.model, second.model)


def test_resumed_run_ends_as_an_uninterrupted_one(tmp_path):
    whole, interrupted, resumed = new_training(), new_training(), new_training(seed=9)
    train(whole, 6)
    train(interrupted, 3)
    interrupted.save(tmp_path / "state.pth", {"seed": 0})
    resumed.restore(tmp_path / "state.pth", {"seed": 0})
    train(resumed, 6)
    assert_same_weights(whole.model, resumed.model)
    assert whole.state == resumed.state
    assert whole.schedule.get_last_lr() == resumed.schedule.get_last_lr()


def test_state_of_another_experiment_is_refused(tmp_path):
    new_training().save(tmp_path / "state.pth", {"seed": 0, "eval_fold": 1})
    with pytest.raises(ValueError, match=r"another experiment \(eval_fold=1 there, 2 here\)"):
        new_training().restore(tmp_path / "state.pth", {"seed": 0, "eval_fold": 2})


def test_step_n_means_n_optimiser_steps():
    kept = []
    train(new_training(), 5, snapshot_every=2, keep=lambda training: kept.append(training.state.step))
    assert kept == [2, 4, 5]  # the last step is always kept


def test_learning_rate_falls_every_thousand_steps():
    training = new_training()
    rates = []
    for _ in range(2001):
        rates.append(training.schedule.get_last_lr()[0])
        training.optimiser.step()
        training.schedule.step()
    assert rates[999] == pytest.approx(1e-3)
    assert rates[1000] == pytest.approx(0.95e-3)
    assert rates[2000] == pytest.approx(0.95**2 * 1e-3)


def test_optimiser_is_the_published_one_over_the_used_weights():
    training = new_training()
    (group,) = training.optimiser.param_groups
    assert (group["momentum"], group["weight_decay"]) == (0.9, 5e-4)
    unused = [name for name, _ in training.model.named_parameters() if "aspp" in name]
    assert len(group["params"]) == len(list(training.model.parameters())) - len(unused)


def test_degenerate_episodes_are_counted_and_change_no_weight(monkeypatch):
    training = new_training()
    losses_of = training.model.training_losses
    calls = []

    def every_second_is_degenerate(**arguments):
        calls.append(1)
        if len(calls) % 2:
            raise DegenerateEpisodeError("no background")
        return losses_of(**arguments)

    monkeypatch.setattr(training.model, "training_losses", every_second_is_degenerate)
    reports = train(training, 2)
    assert (training.state.step, training.state.episode, training.state.degenerate) == (2, 4, 2)
    assert reports[-1][1]["degenerate_episodes"] == 2

    before = {key: value.clone() for key, value in training.model.state_dict().items()}
    calls.clear()
    with pytest.raises(DegenerateEpisodeError):
        training.take_step(toy_episodes()[0], **OPTIONS)
    for key, value in training.model.state_dict().items():
        assert torch.equal(value, before[key]), key


def test_other_errors_of_a_step_are_not_swallowed(monkeypatch):
    training = new_training()

    def broken(**arguments):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(training.model, "training_losses", broken)
    with pytest.raises(RuntimeError, match="out of memory"):
        train(training, 2)


def test_collapsed_training_stops(monkeypatch):
    training = new_training()

    def degenerate(**arguments):
        raise DegenerateEpisodeError("no background")

    monkeypatch.setattr(training.model, "training_losses", degenerate)
    with pytest.raises(ValueError, match=f"{DEGENERATE_LIMIT} episodes in a row .* collapsed"):
        train(training, 2)


@pytest.fixture(scope="module")
def road(cohort_folder, tmp_path_factory):
    """Training, resumed training, fine-tuning and testing of one fold; name -> run folder."""
    log_dir = tmp_path_factory.mktemp("exps")
    shared = {
        "modelname": "dlfcn_res18",
        "path": {"data_dir": str(cohort_folder), "log_dir": str(log_dir)},
        "num_workers": 0,
        "device": "cpu",
        "print_interval": 1,
    }

    def run(experiment, prefix, **changes):
        experiment.run(config_updates={**shared, "exp_prefix": prefix, **changes})
        return list_runs(log_dir / f"mySSL_{prefix}_CHAOST2_Superpix_sets_0_1shot")[-1]

    runs = {"train": run(training.experiment, "train", n_steps=2)}
    runs["resumed"] = run(training.experiment, "train", n_steps=3, resume=True)
    snapshot = str(list_snapshots(runs["resumed"])[-1][1])
    chosen = {"reload_model_path": snapshot, "selection": "test: the best of many"}
    runs["finetune"] = run(finetuning.experiment, "ft", n_steps=2, **chosen)
    runs["test"] = run(validation.experiment, "test", reload_model_path=snapshot)
    watching = {"eval_every": 2, "eval_scans": 2, "save_snapshot_every": 1}
    runs["watched"] = run(training.experiment, "watched", n_steps=3, **watching)
    runs["chosen"] = run(
        validation.experiment, "chosen", reload_model_path=str(runs["watched"]), select="train_scans", protocol="clean"
    )
    return runs


def test_run_folders(road):
    assert [step for step, _ in list_snapshots(road["train"])] == [2]
    assert [step for step, _ in list_snapshots(road["resumed"])] == [2, 3]
    for run in road.values():
        assert {"config.json", "metrics.json", "run.json", "cout.txt"} <= {path.name for path in run.iterdir()}
        assert json.loads((run / "run.json").read_text())["status"] == "COMPLETED"


def test_scalars_of_a_resumed_run_are_complete(road):
    for name in ("query_loss", "align_loss", "total_loss", "lr", "degenerate_episodes"):
        assert read_scalars(road["resumed"])[name][0] == [1, 2, 3]
    assert read_scalars(road["finetune"])["lr"][1] == [1e-4, 1e-4]
    total, query, align = (read_scalars(road["train"])[f"{name}_loss"][1] for name in ("total", "query", "align"))
    np.testing.assert_allclose(total, np.add(query, align), rtol=1e-5)


def test_tensorboard_shows_the_scalars_and_a_picture_of_every_snapshot(road):
    """Of the resumed run all of them, each once: those before the interruption too."""
    for name in ("resumed", "finetune"):
        found, pictures = {}, []
        for event in read_events(road[name]):
            for value in event.summary.value:
                if value.HasField("image"):
                    pictures.append(event.step)
                    assert (value.image.height, value.image.width) == (256, 4 * 256 + 12)
                else:
                    found.setdefault(value.tag, []).append((event.step, value.simple_value))
        expected = read_scalars(road[name])
        assert set(found) == set(expected)
        for tag, (steps, values) in expected.items():
            assert [step for step, _ in found[tag]] == steps
            np.testing.assert_allclose([value for _, value in found[tag]], values, rtol=1e-6)
        assert pictures == [step for step, _ in list_snapshots(road[name])]


def test_a_run_tells_where_it_comes_from(road):
    about = json.loads((road["finetune"] / "run.json").read_text())
    sources = dict(about["experiment"]["sources"])
    assert {"Stage2/finetuning.py", "Stage2/models/alp.py", "Stage2/datasets/augmentation.py"} <= set(sources)
    kept = road["finetune"].parent / sources["Stage2/models/alp.py"]
    assert kept.read_text() == (ROOT / "Stage2" / "models" / "alp.py").read_text()
    assert f"torch=={version('torch')}" in about["experiment"]["dependencies"]
    assert about["host"]["torch"]["version"] == torch.__version__
    assert about["experiment"]["mainfile"] == "Stage2/finetuning.py"


def test_snapshots_are_plain_state_dicts_under_the_published_keys(road):
    content = torch.load(list_snapshots(road["train"])[0][1], weights_only=True)
    prefixes = {".".join(key.split(".")[:2]) for key in content}
    assert prefixes == {"encoder.backbone", "encoder.localconv", "encoder.aspp_out", "encoder.asppconv"}


def test_results(road):
    results = read_results(road["test"])
    assert (results["protocol"], results["dataset"], results["fold"], results["label_set"]) == (
        "paper",
        "CHAOST2",
        0,
        0,
    )
    assert (results["step"], results["modelname"], results["exclude_classes"]) == (3, "dlfcn_res18", [])
    assert {(row["class"], row["scan"]) for row in results["scans"]} == {
        (name, scan) for name in ("RK", "LK") for scan in "0123"
    }
    for name in ("RK", "LK"):
        assert results["support"][name][0]["scan"] == "4"
        values = [row["dice"] for row in results["scans"] if row["class"] == name]
        assert results["class_means"][name]["dice"] == pytest.approx(np.mean(values))
        assert results["class_means"][name]["scans"] == 4
    means = [results["class_means"][name]["dice"] for name in ("RK", "LK")]
    assert results["mean"]["dice"] == pytest.approx(np.mean(means))
    masks = sorted(path.name for path in (road["test"] / "interm_preds").iterdir())
    assert masks == [f"scan_{scan}_label_{label}.nii.gz" for scan in "0123" for label in (2, 3)]


def test_tests_on_training_scans_are_logged_and_change_nothing(road):
    scalars = read_scalars(road["watched"])
    for name in ("train_scans_dice", "train_scans_dice_LIVER", "train_scans_dice_SPLEEN"):
        assert scalars[name][0] == [1, 2, 3]  # every second step, and every snapshot
        assert all(0 <= value <= 1 for value in scalars[name][1])
    assert not [name for name in scalars if "RK" in name]
    states = [torch.load(run / "snapshots" / "3.pth", weights_only=True) for run in (road["watched"], road["resumed"])]
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())


def test_the_snapshot_can_be_chosen_by_training_scans(road):
    dice = read_scalars(road["watched"])["train_scans_dice"][1]
    results = read_results(road["chosen"])
    assert results["step"] == 1 + int(np.argmax(dice))
    assert (results["selected_by"], results["protocol"]) == ("train_scans", "clean")
    assert results["selection"].startswith(f"train_scans: Dice of training classes in training scans {max(dice):.4f}")
    assert read_results(road["test"])["selected_by"] is None


def test_fine_tuning_records_its_snapshot_and_how_it_was_chosen(road):
    snapshot = str(list_snapshots(road["resumed"])[-1][1])
    recorded = json.loads((road["finetune"] / "info.json").read_text())
    assert recorded == {"snapshot": snapshot, "selected_by": "test", "selection": "test: the best of many"}
    config = json.loads((road["finetune"] / "config.json").read_text())
    assert config["reload_model_path"] == snapshot
    assert config["selection"] == {"rule": "test", "reason": "the best of many"}
    assert json.loads((road["train"] / "info.json").read_text())["snapshot"] is None


def test_the_clean_protocol_refuses_a_snapshot_that_test_labels_chose(road, cohort_folder, tmp_path, capsys):
    path = {"data_dir": str(cohort_folder), "log_dir": str(tmp_path)}
    chosen = {"reload_model_path": str(list_snapshots(road["train"])[-1][1]), "selection": {"rule": "test"}}
    with pytest.raises(SystemExit):
        validation.experiment.run(
            config_updates={"modelname": "dlfcn_res18", "path": path, "protocol": "clean", **chosen}
        )
    assert "was chosen by them (select=test); choose select=train_scans or last" in capsys.readouterr().err


# Script as seen from a folder of the repository, settings, and how the one line on stderr begins.
MISTAKES = {
    "misspelt": (
        "Stage2", "training.py", ["modelnam=dlfcn_res18"],
        "error: modelnam is not a setting; the nearest one is modelname.",
    ),
    "no folder": (
        "Stage2", "training.py", ["path.data_dir=/nowhere", "modelname=dlfcn_res18"],
        "error: /nowhere is not a folder",
    ),
    "no device": ("Stage2", "training.py", ["device=abacus"], "error: device=abacus is unknown"),
    "no snapshot": (".", "Stage2/finetuning.py", [], "error: fine-tuning starts from a trained snapshot"),
}  # fmt: skip
# Runs every entry point of the list as a script; one process, because each would take seconds to import torch.
SCRIPTS = """
import contextlib, json, os, runpy, sys
for name, folder, script, arguments, errors in json.loads(sys.argv[1]):
    os.chdir(folder)
    sys.argv = [script, "with", *arguments]
    with open(errors, "w") as file, contextlib.redirect_stderr(file):
        try:
            runpy.run_path(script, run_name="__main__")
            status = 0
        except SystemExit as end:
            status = end.code
    print(json.dumps([name, status]))
"""


@pytest.fixture(scope="module")
def refused(tmp_path_factory):
    """Status and error lines of every mistake, from its folder."""
    folder = tmp_path_factory.mktemp("mistakes")
    listed = [
        (name, str(ROOT / place), script, [*arguments, f"path.log_dir={folder}"], str(folder / f"{name}.txt"))
        for name, (place, script, arguments, _) in MISTAKES.items()
    ]
    command = [sys.executable, "-c", SCRIPTS, json.dumps(listed)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    answers = dict(json.loads(line) for line in done.stdout.splitlines() if line.startswith('["'))
    return {name: (status, (folder / f"{name}.txt").read_text().splitlines()) for name, status in answers.items()}


@pytest.mark.parametrize("name", MISTAKES)
def test_bad_input_is_one_line_and_a_failed_status(refused, name):
    status, lines = refused[name]
    assert status == 1
    assert lines[-1].startswith(MISTAKES[name][3]), lines
    assert not [line for line in lines if "Traceback" in line]


def test_a_published_launch_line_runs_inside_stage2(cohort_folder, tmp_path):
    settings = [
        "modelname=dlfcn_res18", "usealign=True", "optim_type=sgd", "num_workers=0", "scan_per_load=-1", "label_sets=0",
        "use_wce=True", "exp_prefix=train_CHAOST2_Superpix_lbgroup0_scale_MIDDLE_vfold0", "clsname=grid_proto",
        "n_steps=1", "exclude_cls_list=[2,3]", "eval_fold=0", "dataset=CHAOST2_Superpix", "proto_grid_size=8",
        "max_iters_per_load=1000", "min_fg_data=1", "seed=1234", "save_snapshot_every=25000", "superpix_scale=MIDDLE",
        "lr_step_gamma=0.95", f"path.log_dir={tmp_path}", "support_idx=[4]", "use_coco_init=False",
        f"path.data_dir={cohort_folder}",
    ]  # fmt: skip
    command = [sys.executable, "training.py", "with", *settings]
    done = subprocess.run(command, cwd=ROOT / "Stage2", capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    name = "mySSL_train_CHAOST2_Superpix_lbgroup0_scale_MIDDLE_vfold0_CHAOST2_Superpix_sets_0_1shot"
    assert (tmp_path / name / "1" / "snapshots" / "1.pth").is_file()
    assert "1 steps in" in (tmp_path / name / "1" / "cout.txt").read_text()  # the run folder keeps the log


def test_a_step_of_several_episodes_takes_the_mean_loss():
    training, episodes = new_training(), toy_episodes()
    batch = [episodes[index] for index in range(2)]
    training.model.eval()  # batch-norm apart, the episodes of a batch do not meet
    together = training.model.batch_losses(batch, **OPTIONS)
    alone = [training.model.training_losses(**episode, **OPTIONS) for episode in batch]
    for one, other in zip(together, alone, strict=True):
        assert one["query_loss"].item() == pytest.approx(other["query_loss"].item(), rel=1e-4)
        assert one["align_loss"].item() == pytest.approx(other["align_loss"].item(), rel=1e-4)
    training.model.train()
    expected = training.model.batch_losses(batch, **OPTIONS)
    found = new_training().take_step(*batch, **OPTIONS)
    assert found["query_loss"] == pytest.approx(np.mean([one["query_loss"].item() for one in expected]), rel=1e-5)


def test_a_query_predicted_all_foreground_is_degenerate_by_rule_and_counted(monkeypatch, caplog):
    caplog.set_level("INFO")
    training = new_training()
    scores, calls = training.model.scores, []

    def all_foreground_at_first(features, prototypes):
        calls.append(1)
        found = scores(features, prototypes)
        return found + torch.tensor([-100.0, 100.0])[:, None, None] if len(calls) == 1 else found

    monkeypatch.setattr(training.model, "scores", all_foreground_at_first)
    reports = train(training, 1)
    assert (training.state.step, training.state.episode) == (1, 2)
    assert reports[-1][1]["degenerate_episodes"] == 1
    assert "1 degenerate episodes left out" in caplog.text

    calls.clear()
    losses = training.model.batch_losses([toy_episodes()[0], toy_episodes()[1]], **OPTIONS)
    assert len(losses) == 1  # the other episode of the batch still counts


def test_moving_average_of_the_weights(tmp_path):
    def averaged(seed):
        torch.manual_seed(seed)
        return Training(FewShotSegmenter("dlfcn_res18"), 1e-3, 0.95, ema_decay=0.75)

    first, plain = averaged(0), new_training()
    key = "encoder.localconv.weight"
    expected = plain.model.state_dict()[key].clone()
    for _ in range(2):
        for either in (first, plain):
            either.take_step(toy_episodes()[0], **OPTIONS)
        expected = 0.75 * expected + 0.25 * plain.model.state_dict()[key]
    assert_same_weights(first.model, plain.model)  # the average changes nothing in training
    torch.testing.assert_close(first.average[key], expected)
    assert list(first.average) == list(first.model.state_dict())
    first.save(tmp_path / "state.pth", {})
    second = averaged(1)
    second.restore(tmp_path / "state.pth", {})
    assert all(torch.equal(value, second.average[key]) for key, value in first.average.items())


def test_float16_trains_with_a_scaled_loss_and_resumes_with_its_scale(tmp_path):
    def half(seed):
        torch.manual_seed(seed)
        return Training(FewShotSegmenter("dlfcn_res18", precision="fp16"), learning_rate=1e-3, decay=0.95)

    first, exact = half(0), new_training()
    key = "encoder.localconv.weight"
    start = half(0).model.state_dict()[key]
    expected = exact.take_step(toy_episodes()[0], **OPTIONS)
    for _ in range(8):  # a gradient that overflows halves the scale and moves nothing
        scale = first.scaler.get_scale()
        found = first.take_step(toy_episodes()[0], **OPTIONS)
        assert found["total_loss"] == pytest.approx(expected["total_loss"], rel=0.02)
        if first.scaler.get_scale() >= scale:
            break
        assert torch.equal(first.model.state_dict()[key], start)
    moved, wanted = (one.model.state_dict()[key] - start for one in (first, exact))
    assert torch.nn.functional.cosine_similarity(moved.flatten(), wanted.flatten(), dim=0) > 0.98
    assert first.scaler.get_scale() > 1
    first.scaler.update(128.0)
    first.save(tmp_path / "state.pth", {})
    second = half(1)
    second.restore(tmp_path / "state.pth", {})
    assert second.scaler.get_scale() == 128.0
    assert new_training().scaler.get_scale() == 1  # idle: float32 gradients are untouched
