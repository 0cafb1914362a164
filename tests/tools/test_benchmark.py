"""tools/benchmark.py refuses what cannot be measured before it measures."""

import pytest
from tool_modules import load_tool

COUNTS = {
    "stage1": ("--image-size", "--depth", "--batch", "--repeats"),
    "stage2": ("--slices", "--repeats"),
    "preparation": ("--scans", "--workers", "--repeats"),
}


@pytest.mark.parametrize("command, option", [(name, own) for name, options in COUNTS.items() for own in options])
def test_nothing_is_measured_no_times(command, option, capsys):
    with pytest.raises(SystemExit) as end:
        load_tool("benchmark").main([command, option, "0"])
    assert end.value.code == 2
    assert f"{option}: found 0, expected a whole number from 1 up" in capsys.readouterr().err
