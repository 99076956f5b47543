"""Repeated operations do not leak resources."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.soak import levels

pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc"),
]


@pytest.mark.parametrize(
    "scenario, number",
    [("queries", 1_000), ("databases", 100), ("dropped-exports", 100), ("slow-consumer", 100)],
)
def test_memory_threads_and_files_stay_constant(scenario, number):
    """Many repetitions take no more memory, threads, files or processes."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "tests.soak.levels", scenario, str(number)],
        cwd=Path(levels.__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    gained = json.loads(done.stdout)
    assert gained.pop("mib") < levels.MAX_GAIN
    assert set(gained.values()) == {0}
