"""What is shown while something is done."""

from __future__ import annotations

import io
import re
import sys

import pytest

from vastlab.cli.progress import Reporter, progress
from vastlab.nodes.base import Step


class Screen(io.StringIO):
    """A terminal that remembers all that was written."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    "step, shown",
    [
        (Step(), "count"),
        (Step("reading 4 logs", 9000, 0.7), "reading 4 logs .* 9,000 events"),
        (Step("looking\x1b[31m"), r"looking\\x1b\[31m"),
    ],
)
def test_progress_shows_preparation_first(monkeypatch, step, shown):
    """The bar shows the preparation, and the query otherwise; escape sequences are shown."""
    monkeypatch.setattr(sys, "stderr", Screen())
    reporter = Reporter()
    reporter(step)
    with progress("count", reporter=reporter):
        pass
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", sys.stderr.getvalue())
    assert re.search(shown, plain)
    assert ("count" in plain) == (not step.doing)
