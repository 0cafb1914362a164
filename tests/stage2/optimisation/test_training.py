"""One step of a training, and the state that a resumed one goes on from."""

import numpy as np
import pytest
import torch
from stage2.optimisation.toy import OPTIONS, assert_same_weights, new_training, run, toy_episodes

from Stage2.models.few_shot import FewShotSegmenter
from Stage2.optimisation.training import Training


def test_some_steps_lower_the_loss():
    training, episodes = new_training(), toy_episodes()
    losses = [np.mean([training.take_step(episodes[e], **OPTIONS)["total_loss"] for e in (0, 1)]) for _ in range(8)]
    assert losses[-1] < 0.7 * losses[0], losses


def test_resumed_run_ends_as_an_uninterrupted_one(toy, tmp_path):
    whole, interrupted, resumed = (new_training(seed=seed, encoder=toy) for seed in (0, 0, 9))
    run(whole, 6)
    run(interrupted, 3)
    interrupted.save(tmp_path / "state.pth", {"seed": 0})
    resumed.restore(tmp_path / "state.pth", {"seed": 0})
    run(resumed, 6)
    assert_same_weights(whole.model, resumed.model)
    assert whole.state == resumed.state
    assert whole.schedule.get_last_lr() == resumed.schedule.get_last_lr()


def test_state_of_another_experiment_is_refused(tmp_path):
    new_training().save(tmp_path / "state.pth", {"seed": 0, "eval_fold": 1})
    with pytest.raises(ValueError, match=r"another experiment \(eval_fold=1 there, 2 here\)"):
        new_training().restore(tmp_path / "state.pth", {"seed": 0, "eval_fold": 2})


def test_what_older_files_do_not_tell_of_an_experiment_passes_with_a_warning(toy, tmp_path, caplog):
    path, now = tmp_path / "state.pth", {"seed": 0, "start": "a.pth", "entry": "training"}
    new_training(encoder=toy).save(path, {"seed": 0, "entry": "training"})
    new_training(encoder=toy).restore(path, now, newer=("start", "entry"))
    assert "state.pth is of an earlier version and does not tell start: not compared" in caplog.text
    with pytest.raises(ValueError, match=r"belongs to another experiment \(start='default' there, 'a.pth' here\)"):
        new_training(encoder=toy).restore(path, now)
    with pytest.raises(ValueError, match=r"\(entry='training' there, 'finetuning' here\)"):
        new_training(encoder=toy).restore(path, now | {"entry": "finetuning"}, newer=("start", "entry"))


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


def test_float16_trains_with_a_scaled_loss_and_resumes_with_its_scale(toy, tmp_path):
    def half(seed):
        return new_training(seed, precision="fp16", encoder=toy)

    first, exact = half(0), new_training(encoder=toy)
    first.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**30)
    key = "encoder.localconv.weight"
    start = half(0).model.state_dict()[key]
    expected = exact.take_step(toy_episodes()[0], **OPTIONS)
    overflows = 0
    for _ in range(30):  # a gradient that overflows halves the scale and moves nothing
        scale = first.scaler.get_scale()
        found = first.take_step(toy_episodes()[0], **OPTIONS)
        assert found["total_loss"] == pytest.approx(expected["total_loss"], rel=0.02)
        if first.scaler.get_scale() >= scale:
            break
        assert torch.equal(first.model.state_dict()[key], start)
        overflows += 1
    assert overflows
    moved, wanted = (one.model.state_dict()[key] - start for one in (first, exact))
    assert torch.nn.functional.cosine_similarity(moved.flatten(), wanted.flatten(), dim=0) > 0.98
    assert first.scaler.get_scale() > 1
    first.scaler.update(128.0)
    first.save(tmp_path / "state.pth", {})
    second = half(1)
    second.restore(tmp_path / "state.pth", {})
    assert second.scaler.get_scale() == 128.0
    assert new_training().scaler.get_scale() == 1  # idle: float32 gradients are untouched
