"""The benchmark of every support measures what tests do."""

import pytest

from Stage2.benchmarks import stage2, supports
from Stage2.evaluation.protocol import evaluate_scan, support_prototypes


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(stage2, "SLICE_SIZE", 64)
    monkeypatch.setattr(supports, "CANDIDATES", 3)


def test_every_support_gives_the_scores_of_each_alone(small):
    model = stage2.segmenter("dlfcn_res18", "fp32", channels_last=False).eval()
    scans = {str(number): stage2.drawn_scan(str(number), 3, seed=number) for number in range(3)}
    every = supports.score_fold(model, scans, "adnet", list(scans), list(scans))
    assert {support: len(results) for support, results in every.items()} == {"0": 4, "1": 4, "2": 4}
    (alone,) = supports.score_fold(model, scans, "adnet", list(scans), ["1"]).values()
    for own, other in zip(every["1"], alone, strict=True):
        assert own.scores["dice"] == pytest.approx(other.scores["dice"], abs=1e-3)
    tasks = stage2.drawn_tasks(3, "1", ["0"])
    prototypes = {task.name: support_prototypes(model, [scans["1"]], task, stage2.TEST_WINDOW) for task in tasks}
    plain = evaluate_scan(model, scans["0"], tasks, prototypes)  # the class shows everywhere: range and chunks agree
    assert [own.scores["dice"] for own in plain] == pytest.approx([own.scores["dice"] for own in alone[:2]], abs=1e-3)


def test_a_row_of_each_protocol(small):
    rows = supports.measure_supports("dlfcn_res18", n_slices=3, repeats=1)
    assert [row[0] for row in rows] == ["paper protocol", "adnet protocol"]
    assert all(float(ratio) > 0 for _, _, _, ratio in rows)
