"""No file does harm, however it is damaged: mutated logs are ingested in other processes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
SECONDS = float(os.environ.get("FUZZ_SECONDS", "60"))
FIRST = int(os.environ.get("FUZZ_SEED", "0"))
_CASES = 400  # of one process
_WAIT = 900  # seconds for them; a case that hangs is ended much earlier by its use of a processor

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no resource limits")


@pytest.mark.full
@pytest.mark.timeout(SECONDS + 2 * _WAIT)
def test_mutated_logs_do_no_harm(capsys):
    """No crash, no hang, no foreign error; what is accepted can be read back and is sound.

    An hour by hand: ``FUZZ_SECONDS=3600 pytest -m full tests/readers/test_fuzz.py -n 0``;
    ``FUZZ_SEED`` is the first case.
    """
    end, seed, accepted = time.monotonic() + SECONDS, FIRST, 0
    while seed == FIRST or time.monotonic() < end:
        accepted += run(seed, _CASES)
        seed += _CASES
    with capsys.disabled():
        counts = f"{seed - FIRST:,} mutated logs, {accepted:,} of them accepted"
        print(f"\n{counts}")  # noqa: T201 - the answer of a run by hand
    assert accepted > (seed - FIRST) / 10


def test_a_sample_of_mutated_logs_does_no_harm():
    """The same for a few cases, in every run."""
    assert run(10_000_000, 60) > 0


def run(seed: int, cases: int) -> int:
    """Run some cases in a process; return how many files were accepted, or fail with a seed."""
    done = _start(seed, cases)
    accepted = sum(int(line.split()[2]) for line in done.stdout.splitlines())
    if done.returncode == 0:
        return accepted
    first = seed + sum(int(line.split()[1]) for line in done.stdout.splitlines())
    for case in range(first, min(first + 20, seed + cases)):
        result = _start(case, 1)
        if result.returncode:
            pytest.fail(f"case {case}: status {result.returncode}: {result.stderr[-2000:]}")
    pytest.fail(f"cases {first} to {case}: status {done.returncode}: {done.stderr[-2000:]}")


def _start(seed: int, cases: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "tests.readers.fuzzing", str(seed), str(cases)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        timeout=_WAIT,
        check=False,
    )
