"""An adaptation by steps is the same again, also after an interruption; a damaged state begins anew."""

import os
import signal
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from stage2.adaptation.discs import disc_scan

from Stage2.adaptation.adapt import AdaptedWeights, adapt_slices
from Stage2.adaptation.learner import IGNORED, Learner
from Stage2.adaptation.network import AdaptedNetwork
from Stage2.adaptation.network_file import ADAPTED, write_network
from Stage2.adaptation.settings import AdaptationSettings
from Stage2.adaptation.start import starting_network
from Stage2.adaptation.training import Progress

STEPS = 6
SETTINGS = AdaptationSettings(minutes=None, steps=STEPS, batch=4, encoder="toy", side=32)
UNLABELLED = [disc_scan(seed).images for seed in (5, 6)]
IDENTITY = {"labels": [1, 2], "nothing": None}


@pytest.fixture(autouse=True)
def registered(toy):
    """The toy encoder, for all tests of this file."""


def adapt(settings: AdaptationSettings = SETTINGS, **changes) -> AdaptedWeights:
    return adapt_slices([disc_scan()], 2, "random", settings, **changes)


def assert_same(one: AdaptedWeights, other: AdaptedWeights) -> None:
    own, others = one.network.state_dict(), other.network.state_dict()
    assert all(torch.equal(value, others[key]) for key, value in own.items())


def test_the_same_steps_give_the_same_weights():
    reports: list[Progress] = []
    before = torch.get_rng_state()
    first, again = adapt(report=reports.append), adapt()
    assert torch.equal(torch.get_rng_state(), before)
    assert (first.steps, first.finished, first.network.training) == (STEPS, True, False)
    assert_same(first, again)
    assert [one.steps for one in reports] == list(range(1, STEPS + 1))
    assert (reports[-1].share, reports[-1].seconds_left) == (1.0, 0.0)
    other = adapt(replace(SETTINGS, seed=7))
    assert not torch.equal(other.network.head.parts.weight, first.network.head.parts.weight)


@pytest.mark.parametrize("unlabelled", [[], UNLABELLED], ids=["annotated alone", "self-training"])
@pytest.mark.parametrize("at", [1, 4])
def test_interrupted_it_goes_on_to_the_same_weights(tmp_path, monkeypatch, unlabelled, at):
    monkeypatch.setattr("Stage2.adaptation.self_training.SURE", 0.3)
    state = tmp_path / "state.pth"

    def stop(progress: Progress) -> None:
        if progress.steps == at:
            raise KeyboardInterrupt

    whole = adapt(unlabelled=unlabelled)
    alone = adapt().network.head.parts.weight
    assert torch.equal(whole.network.head.parts.weight, alone) == (not unlabelled)
    half = adapt(unlabelled=unlabelled, state_file=state, identity=IDENTITY, report=stop)
    assert (half.steps, half.finished) == (at, False)
    reports: list[Progress] = []
    rest = adapt(unlabelled=unlabelled, state_file=state, identity=IDENTITY, report=reports.append)
    assert reports[0].steps == at + 1
    assert (rest.steps, rest.finished) == (STEPS, True)
    assert_same(whole, rest)


@pytest.mark.parametrize(("scans", "kept"), [(1, 0.3), (2, 0.15)])
def test_a_whole_network_keeps_a_share_of_what_it_started_from(tmp_path, monkeypatch, scans, kept):
    """Also where it went on after an interruption."""
    start, state = tmp_path / "start.safetensors", tmp_path / "state.pth"
    torch.manual_seed(3)
    write_network(start, ADAPTED, AdaptedNetwork("toy", 2), {})
    annotated = [disc_scan(seed) for seed in range(scans)]

    def learned(**changes) -> dict[str, torch.Tensor]:
        return adapt_slices(annotated, 2, start, SETTINGS, **changes).network.state_dict()

    def stop(progress: Progress) -> None:
        if progress.steps == 2:
            raise KeyboardInterrupt

    mixed = learned()
    learned(state_file=state, report=stop)
    again = learned(state_file=state)
    monkeypatch.setattr("Stage2.adaptation.training.START_SHARE", 0)
    average = learned()
    with torch.random.fork_rng():
        begun = starting_network(start, None, annotated, 2, SETTINGS.seed).state_dict()
    assert not torch.equal(average["head.parts.weight"], begun["head.parts.weight"])
    for key, value in mixed.items():
        if value.is_floating_point():
            torch.testing.assert_close(value, begun[key] * kept + average[key] * (1 - kept))
        assert torch.equal(value, again[key])


def test_a_random_decoder_is_left_behind(tmp_path, monkeypatch):
    torch.save(AdaptedNetwork("toy", 2).backbone.state_dict(), tmp_path / "backbone.pth")
    for start in ("random", tmp_path / "backbone.pth"):
        first = adapt_slices([disc_scan()], 2, start, SETTINGS)
        with monkeypatch.context() as patch:
            patch.setattr("Stage2.adaptation.training.START_SHARE", 1)
            assert_same(first, adapt_slices([disc_scan()], 2, start, SETTINGS))


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Ctrl-C as a person's terminal has it: tests in the background ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c")
def test_the_signal_of_ctrl_c_waits_for_the_end_of_the_step(tmp_path, monkeypatch):
    state, step, whole = tmp_path / "state.pth", Learner.step, adapt()

    def interrupted(learner, *given):
        if learner.steps == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return step(learner, *given)

    with monkeypatch.context() as patch:
        patch.setattr(Learner, "step", interrupted)
        half = adapt(state_file=state)
    assert (half.steps, half.finished) == (3, False)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert_same(whole, adapt(state_file=state))


def test_a_state_is_kept_on_the_way(tmp_path, monkeypatch):
    monkeypatch.setattr("Stage2.adaptation.training.KEEP_EVERY", 0.0)

    def fail(progress: Progress) -> None:
        if progress.steps == 4:
            raise RuntimeError("the machine stops")

    with pytest.raises(RuntimeError):
        adapt(state_file=tmp_path / "state.pth", report=fail)
    reports: list[Progress] = []
    rest = adapt(state_file=tmp_path / "state.pth", report=reports.append)
    assert reports[0].steps == 4
    assert_same(rest, adapt())


@pytest.mark.parametrize("damage", [b"", b"damaged", None], ids=["empty", "text", "truncated"])
def test_a_damaged_state_begins_anew(tmp_path, caplog, damage):
    state = tmp_path / "state.pth"

    def stop(progress: Progress) -> None:
        raise KeyboardInterrupt

    adapt(state_file=state, report=stop)
    state.write_bytes(state.read_bytes()[:-2000] if damage is None else damage)
    reports: list[Progress] = []
    adapt(state_file=state, report=reports.append)
    assert reports[0].steps == 1
    assert "the state is damaged, and the adaptation begins anew" in caplog.text


def test_the_state_of_another_adaptation_is_not_gone_on_with(tmp_path):
    def stop(progress: Progress) -> None:
        raise KeyboardInterrupt

    adapt(state_file=tmp_path / "state.pth", identity=IDENTITY, report=stop)
    reports: list[Progress] = []
    adapt(state_file=tmp_path / "state.pth", identity={"labels": [2]}, report=reports.append)
    assert reports[0].steps == 1


def test_minutes_end():
    reports: list[Progress] = []
    found = adapt(replace(SETTINGS, steps=None, minutes=0.01), report=reports.append)
    assert found.finished
    assert 0.01 <= found.minutes < 0.1
    assert reports[0].seconds_left < 0.6
    assert reports[-1].seconds_left == 0
    assert all(one.share < 1 for one in reports[:-1])


def test_without_a_slice_that_shows_an_organ_it_is_refused():
    scan = disc_scan()
    for labels in (scan.labels * 0, torch.full_like(scan.labels, IGNORED)):
        with pytest.raises(ValueError, match="no annotated slice shows an organ"):
            adapt_slices([replace(scan, labels=labels)], 2, "random", SETTINGS)


def test_a_network_of_numbers_that_are_not_finite_is_no_result(tmp_path):
    scan = disc_scan()
    with pytest.raises(ValueError, match="the loss is nan after 1 steps; check the values"):
        adapt_slices([replace(scan, images=scan.images * torch.nan)], 2, "random", SETTINGS)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"steps": 3}, "either minutes or steps"),
        ({"minutes": None}, "either minutes or steps"),
        ({"minutes": 0.0}, "expected a number above 0"),
        ({"minutes": float("nan")}, "expected a number above 0"),
        ({"minutes": None, "steps": 0}, "expected a whole number from 1 up"),
        ({"side": 100}, "expected a multiple of 32"),
        ({"batch": 1}, "expected 2 or more slices"),
        ({"seed": -1}, "a seed from 0 up"),
        ({"seed": 10**20}, r"a seed from 0 up, below 2\^63"),
    ],
)
def test_settings_out_of_range_are_refused(given, sentence):
    with pytest.raises(ValueError, match=sentence):
        AdaptationSettings(**given)
