"""What is shown while something is done."""

from __future__ import annotations

import io
import re
import sys

import pytest

from vastlab.cli import _terminal
from vastlab.nodes.base import Step


class Screen(io.StringIO):
    """A terminal that remembers all that was written."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    "step, shown",
    [
        (None, "count"),
        (Step("reading 4 logs", 9000, 0.7), "reading 4 logs .* 9,000 events"),
        (Step("looking\x1b[31m"), r"looking\\x1b\[31m"),
    ],
)
def test_progress_says_what_is_done_first(monkeypatch, step, shown):
    """A bar shows the work before the work, and its own otherwise; no escapes get through."""
    monkeypatch.setattr(sys, "stderr", Screen())
    with _terminal.progress("count", preparing=lambda: step):
        pass
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", sys.stderr.getvalue())
    assert re.search(shown, plain)
    assert ("count" in plain) == (step is None)
