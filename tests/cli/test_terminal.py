"""What is shown while something is done."""

from __future__ import annotations

import io
import re
import sys

import pytest

from vastlab.cli.messages import live
from vastlab.cli.progress import Reporter, progress
from vastlab.nodes.base import Notice, Step


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


def test_a_warning_has_a_line_of_its_own_above_the_bar(monkeypatch):
    """It replaces the bar, which is drawn again below it; afterwards nothing is left of that."""
    monkeypatch.setattr(sys, "stderr", Screen())
    reporter = Reporter()
    with progress("count", reporter=reporter) as update:
        update(1, 2)
        reporter(Notice("3 problems"))
        raw = sys.stderr.getvalue()
    before, warning, _ = raw.partition("vastlab: ")
    line = re.split(r"[\r\n]", before)[-1]
    assert warning
    assert re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line) == ""
    assert not live
