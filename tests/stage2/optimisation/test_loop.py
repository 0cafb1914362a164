"""The loop of a training: steps, snapshots, degenerate episodes, errors."""

import pytest
import torch
from stage2.optimisation.toy import OPTIONS, Notes, assert_same_weights, new_training, run, toy_episodes

from Stage2.models.alp import DegenerateEpisodeError
from Stage2.optimisation.loop import DEGENERATE_LIMIT, Cadence, train


def test_same_seed_is_the_same_run_with_any_number_of_workers(toy):
    first, second = new_training(encoder=toy), new_training(encoder=toy)
    assert run(first, 4).reports == run(second, 4, n_workers=2).reports
    assert_same_weights(first.model, second.model)


def test_step_n_means_n_optimiser_steps(toy):
    assert run(new_training(encoder=toy), 5, snapshot_every=2).snapshots == [2, 4, 5]  # the last step is always kept


def test_degenerate_episodes_are_counted_and_change_no_weight(toy, monkeypatch):
    training = new_training(encoder=toy)
    losses_of = training.model.training_losses
    calls = []

    def every_second_is_degenerate(**arguments):
        calls.append(1)
        if len(calls) % 2:
            raise DegenerateEpisodeError("no background")
        return losses_of(**arguments)

    monkeypatch.setattr(training.model, "training_losses", every_second_is_degenerate)
    reports = run(training, 2).reports
    assert (training.state.step, training.state.episode, training.state.degenerate) == (2, 4, 2)
    assert reports[-1][1]["degenerate_episodes"] == 2

    before = {key: value.clone() for key, value in training.model.state_dict().items()}
    calls.clear()
    with pytest.raises(DegenerateEpisodeError):
        training.take_step(toy_episodes()[0], **OPTIONS)
    for key, value in training.model.state_dict().items():
        assert torch.equal(value, before[key]), key


def test_other_errors_of_a_step_are_not_swallowed(toy, monkeypatch):
    training = new_training(encoder=toy)

    def broken(**arguments):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(training.model, "training_losses", broken)
    with pytest.raises(RuntimeError, match="out of memory"):
        run(training, 2)


def test_collapsed_training_stops(toy, monkeypatch):
    training = new_training(encoder=toy)

    def degenerate(**arguments):
        raise DegenerateEpisodeError("no background")

    monkeypatch.setattr(training.model, "training_losses", degenerate)
    with pytest.raises(ValueError, match=f"{DEGENERATE_LIMIT} episodes in a row .* collapsed"):
        run(training, 2)


def test_a_query_predicted_all_foreground_is_degenerate_by_rule_and_counted(monkeypatch, caplog):
    caplog.set_level("INFO")
    training = new_training()
    scores, calls = training.model.head.scores, []

    def all_foreground_at_first(features, prototypes):
        calls.append(1)
        found = scores(features, prototypes)
        return found + torch.tensor([-100.0, 100.0])[:, None, None] if len(calls) == 1 else found

    monkeypatch.setattr(training.model.head, "scores", all_foreground_at_first)
    reports = run(training, 1).reports
    assert (training.state.step, training.state.episode) == (1, 2)
    assert reports[-1][1]["degenerate_episodes"] == 1
    assert "1 degenerate episodes left out" in caplog.text

    calls.clear()
    losses = training.model.batch_losses([toy_episodes()[0], toy_episodes()[1]], **OPTIONS)
    assert len(losses) == 1  # the other episode of the batch still counts


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_loss_that_is_no_number_ends_the_training_before_it_moves_a_weight(toy, monkeypatch, precision):
    training = new_training(precision=precision, encoder=toy)
    losses_of = training.model.training_losses

    def broken_in_the_second_step(**arguments):
        losses = losses_of(**arguments)
        return losses | {"align_loss": losses["align_loss"] * float("nan")} if training.state.step else losses

    monkeypatch.setattr(training.model, "training_losses", broken_in_the_second_step)
    notes = Notes()
    with pytest.raises(ValueError, match=r"step 2: align_loss is nan: the training has .* smaller optim\.lr") as end:
        train(training, toy_episodes(), Cadence(3, report=1, snapshot=1), notes, **OPTIONS)
    assert "\n" not in str(end.value)
    assert notes.snapshots == [1]
    assert all(value.isfinite().all() for value in training.model.state_dict().values())


@pytest.mark.parametrize("factor", [float("inf"), float("nan")])
def test_a_weight_that_is_no_number_ends_the_training_with_its_name(toy, factor):
    training, notes = new_training(encoder=toy), Notes()
    training.model.encoder.localconv.weight.register_hook(lambda gradient: gradient * factor)
    with pytest.raises(ValueError, match=r"step 1: the weights encoder\.localconv\.weight are not finite"):
        train(training, toy_episodes(), Cadence(2, report=1, snapshot=1), notes, **OPTIONS)
    assert not notes.snapshots and not notes.reports


def test_a_step_that_a_float16_gradient_made_void_is_no_such_end(toy):
    training, notes = new_training(precision="fp16", encoder=toy), Notes()
    overflows = iter([float("inf")])
    training.model.encoder.localconv.weight.register_hook(lambda gradient: gradient * next(overflows, 1.0))
    train(training, toy_episodes(), Cadence(2, snapshot=1), notes, **OPTIONS)
    assert notes.snapshots == [1, 2]
