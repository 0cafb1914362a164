"""What a task asks of a library that may be absent."""

import math

import pytest

from Stage1.models import extras
from Stage1.models.mae import MAE
from Stage1.models.simclr import SimCLR
from Stage1.runs.optimisers import lars


def test_one_name_or_several():
    assert extras.from_library("math", "pi") == math.pi
    assert extras.from_library("math", "floor", "ceil") == [math.floor, math.ceil]


@pytest.mark.parametrize("build", [SimCLR, MAE, lambda: lars([])])
def test_an_absent_library_is_one_sentence(build, monkeypatch):
    def absent(place):
        raise ModuleNotFoundError(f"No module named {place!r}", name=place.split(".")[0])

    monkeypatch.setattr(extras, "import_module", absent)
    with pytest.raises(ValueError) as error:
        build()
    assert str(error.value) == (
        "found no library lightly, which this pretext task needs; install what requirements-selfsup.txt lists: "
        "pip install -r requirements-selfsup.txt"
    )
