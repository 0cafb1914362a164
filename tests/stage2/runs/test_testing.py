"""What results.json says of a test."""

import pytest

from Stage2.runs.settings import RunSettings
from Stage2.runs.testing import without_effect


@pytest.mark.parametrize(
    ("method", "protocol", "without"),
    [
        ("prototypes", "paper", ()),
        ("prototypes", "clean", ()),
        ("adapted", "paper", ("clsname", "val_wsize")),
        ("adapted", "clean", ("clsname", "val_wsize", "n_sup_part")),
    ],
)
def test_settings_without_effect_on_a_test(method, protocol, without):
    assert without_effect(RunSettings(method=method, protocol=protocol)) == without
