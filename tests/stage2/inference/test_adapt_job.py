"""Lower bounds of an adaptation: which examples tell, and that the network is there before they are."""

from collections.abc import Callable

import pytest
import SimpleITK as sitk
import torch
from safetensors.torch import load_file
from stage2.drawn import drawn_scan

from Stage2.adaptation.network_file import describe_file
from Stage2.adaptation.settings import AdaptationSettings
from Stage2.inference.adapt_job import UNBOUNDED, AdaptJob, AdaptRequest
from Stage2.inference.adapting import adapt_network

SETTINGS = AdaptationSettings(minutes=None, steps=1, batch=2, encoder="toy", side=32)
Make = Callable[..., AdaptJob]


@pytest.fixture
def make(toy, tmp_path) -> Make:
    """A job of some examples, with lower bounds; of those in `open`, the mask leaves a quarter unknown."""

    def job(count: int = 4, open: tuple[int, ...] = (), **changes) -> AdaptJob:
        supports = []
        for number in range(count):
            scan, mask = drawn_scan((40, 32, 3), (5.0, 5.0, 10.0), shift=float(number))
            if number in open:
                voxels = sitk.GetArrayFromImage(mask)
                voxels[:, :16, :20] = 255
                mask = sitk.GetImageFromArray(voxels)
                mask.CopyInformation(scan)
            supports.append((tmp_path / f"scan_{number}.nii", tmp_path / f"mask_{number}.nii"))
            for image, path in zip((scan, mask), supports[-1], strict=True):
                sitk.WriteImage(image, str(path))
        given = {"start": "random", "modality": "MR", "labels": [2, 3], "lower_bound": True, **changes}
        return AdaptJob(AdaptRequest(supports=supports, out=tmp_path / "a.safetensors", settings=SETTINGS, **given))

    return job


class Adaptations:
    """Every adaptation that was begun, by its number of examples; some fail, by their number from 1 up."""

    def __init__(self):
        self.examples: list[int] = []
        self.failing: dict[int, BaseException] = {}

    def __call__(self, examples, *given, **named):
        self.examples.append(len(examples))
        if len(self.examples) in self.failing:
            raise self.failing[len(self.examples)]
        return adapt_network(examples, *given, **named)


@pytest.fixture
def adaptations(monkeypatch) -> Adaptations:
    counted = Adaptations()
    monkeypatch.setattr("Stage2.inference.adapting.adapt_network", counted)
    return counted


def errors_in(job: AdaptJob) -> list[int]:
    """How many errors the file tells of, for every label."""
    return [len(own) for own in describe_file(job.request.out)["reference"]["errors"]]


def test_masks_that_leave_something_open_tell_no_dice(make, adaptations):
    job = make(6, open=(1,), annotated=[None] * 5 + ["drawn"])
    assert job.run()
    assert adaptations.examples == [6, 5, 5, 5, 5]
    assert errors_in(job) == [4, 4]


@pytest.mark.parametrize(
    ("given", "whole"),
    [({"count": 1}, 1), ({"count": 3}, 3), ({"open": (0,)}, 3), ({"annotated": ["drawn"] * 4}, 0)],
    ids=["one", "three", "unknown voxels", "drawn slices"],
)
def test_too_few_whole_masks_are_told_before_minutes_are_spent(make, adaptations, given, whole):
    with pytest.raises(
        ValueError, match=f"needs 4 annotated scans or more, and there are {whole} in which every slice"
    ):
        make(**given).run()
    assert not adaptations.examples


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("the machine stops")], ids=["Ctrl-C", "error"])
def test_what_ends_the_bounds_leaves_the_network_and_the_call_goes_on_to_them(make, adaptations, error):
    job = make()
    adaptations.failing[3] = error
    with pytest.raises(type(error)):
        job.run()
    out = job.request.out
    described, before = describe_file(out), load_file(out)
    assert described["finished"] and described[UNBOUNDED]
    assert adaptations.examples == [4, 3, 3]
    assert make().run()
    assert adaptations.examples == [4, 3, 3] + [3] * 4
    assert errors_in(job) == [4, 4] and UNBOUNDED not in describe_file(out)
    assert all(torch.equal(value, before[key]) for key, value in load_file(out).items())
    assert make().run()
    assert len(adaptations.examples) == 7


def test_a_data_set_that_is_named_later_names_the_labels(make, adaptations):
    assert make(lower_bound=False).run()
    out = make().request.out
    before, weights = describe_file(out), load_file(out)
    assert make(lower_bound=False, modality=None, dataset="CHAOST2").run()
    after = describe_file(out)
    assert (before["names"], after["names"]) == (["label 2", "label 3"], ["RK", "LK"])
    assert {**after, "names": None} == {**before, "names": None}
    assert all(torch.equal(value, weights[key]) for key, value in load_file(out).items())
    assert adaptations.examples == [4]


def test_an_example_without_which_nothing_is_learned_does_not_end_the_others(make, adaptations, caplog):
    adaptations.failing[3] = ValueError("label 2 is gone")
    job = make()
    assert job.run()
    assert "without example 2 nothing is learned: label 2 is gone" in caplog.text
    assert "label 3 gets no lower bound: 3 examples tell of it, of 4 that are needed" in caplog.text
    assert errors_in(job) == [3, 3]
