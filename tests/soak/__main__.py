"""Run all long trials one after the other, and print a table: ``python -m tests.soak``.

Takes about an hour. A number before each trial's name, as an argument, runs only these.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
_NUMBERS = re.compile(r"^(\{.*\}|[\d,]+ mutated logs.*|\d+ passed.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Trial:
    """A long trial: its description, Python arguments and environment variables."""

    what: str
    arguments: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def command(self) -> str:
        """The shell command that repeats the trial."""
        variables = (f"{name}={value}" for name, value in self.environment.items())
        return " ".join([*variables, "python", *self.arguments])

    def run(self) -> tuple[bool, str]:
        """Run the trial; return whether it succeeded, and the numbers that it printed."""
        done = subprocess.run(
            [sys.executable, *self.arguments],
            cwd=ROOT,
            env=os.environ | self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            print(done.stdout[-4000:], done.stderr[-4000:], file=sys.stderr)
        return done.returncode == 0, " ".join(_NUMBERS.findall(done.stdout)) or "no numbers"


def pytest(*arguments: str) -> tuple[str, ...]:
    """Return the arguments that run long tests in one process."""
    return ("-m", "pytest", "-q", "-s", "-n", "0", "-m", "full", "--timeout", "3000", *arguments)


TRIALS = (
    Trial("imports killed at any moment: 200", ("-m", "tests.soak.interrupted", "kills", "200")),
    Trial("imports on a full disk: 100", ("-m", "tests.soak.interrupted", "full-disk", "100")),
    Trial(
        "8 processes x 200 commits, kills among them, and orders of system calls",
        pytest("tests/store/test_protocol.py"),
        {"PROTOCOL_EXAMPLES": "600"},
    ),
    Trial(
        "flipped bits in a database: 1,000",
        pytest("tests/nodes/test_damage.py"),
        {"FLIPS": "1000"},
    ),
    Trial(
        "mutated logs, for 5 minutes",
        pytest("tests/readers/test_fuzz.py"),
        {"FUZZ_SECONDS": "300", "FUZZ_SEED": "1000000"},
    ),
    Trial(
        "a log folder that is followed while its writer does anything",
        pytest("tests/store/test_following_at_random.py"),
        {"FOLLOW_EXAMPLES": "200"},
    ),
    Trial(
        "every expression on every node",
        pytest("tests/conformance/test_answers.py"),
        {"CONFORMANCE_ALL": "1"},
    ),
    Trial(
        "processes that query and end: 300",
        pytest("tests/test_client.py", "tests/test_connection.py", "-k", "processes"),
        {"SHORT_PROCESSES": "100"},
    ),
    Trial("queries: 10,000", ("-m", "tests.soak.levels", "queries", "10000")),
    Trial("databases opened and closed: 1,000", ("-m", "tests.soak.levels", "databases", "1000")),
    Trial("exports dropped: 1,000", ("-m", "tests.soak.levels", "dropped-exports", "1000")),
    Trial("a slow consumer", ("-m", "tests.soak.levels", "slow-consumer", "400")),
)


def main(chosen: list[str]) -> int:
    """Run the trials; the status is 1 if one failed."""
    failed = 0
    for number, trial in enumerate(TRIALS, 1):
        if chosen and str(number) not in chosen:
            continue
        started = time.monotonic()
        well, numbers = trial.run()
        failed += not well
        seconds = time.monotonic() - started
        print(f"| {number} | {trial.what} | {'good' if well else 'FAILED'} | {numbers} | ", end="")
        print(f"{seconds:.0f} s | `{trial.command}` |", flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
