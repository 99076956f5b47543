"""Imports that are interrupted add all of their events or none."""

from __future__ import annotations

import sys
import time

import pytest

from tests.soak import interrupted


@pytest.mark.full
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit of file sizes")
@pytest.mark.parametrize("name", interrupted.INTERRUPTS)
def test_an_interrupted_import_adds_all_events_or_none(name):
    """After each interruption, the database is intact and has all acknowledged events."""
    seed = time.time_ns()
    print(f"seed {seed}")  # shown where it fails
    tried = interrupted.measure(name, 10, seed)
    assert 0 <= tried["ended"] < 10
