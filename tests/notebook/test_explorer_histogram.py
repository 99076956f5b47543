"""The histogram of the explorer, without a browser."""

from __future__ import annotations

import pandas as pd
import pytest

from vastlab.notebook.explorer import histogram


@pytest.mark.parametrize("width, words", [("250ms", "250 ms"), ("90min", "90 min"), ("1h", "1 h")])
def test_the_width_of_a_bar_is_written_below(width, words):
    """Also that of buckets shorter than a second."""
    times = pd.to_datetime(["2024-01-01"], utc=True)
    found = pd.DataFrame({"time": times, "#type": ["zeek.conn"], "events": [3]})
    found.attrs["every"] = pd.Timedelta(width)
    assert f"{words} a bar" in str(histogram.draw(found, None).view)
