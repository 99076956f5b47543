"""Imports that are killed or run on a full disk: each must add all of its events or none.

Run it with::

    python -m tests.soak.interrupted kills 100
    python -m tests.soak.interrupted full-disk 50
"""

from __future__ import annotations

import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import vastlab
from tests.arrow_strategies import write_streams
from vastlab import demo
from vastlab.store.check import check
from vastlab.store.database import Database

EVENTS = 20_000
Interrupt = Callable[[Path, Path, random.Random, float], bool]


def killed(database: Path, log: Path, chance: random.Random, usual: float) -> bool:
    """Kill an import at a random time; return whether it had finished."""
    with _import(database, log) as running:
        try:
            return running.wait(chance.uniform(0, 1.3 * usual)) == 0
        except subprocess.TimeoutExpired:
            running.kill()
            return False


def without_space(database: Path, log: Path, chance: random.Random, _: float) -> bool:
    """Limit the size of files, which has the effect of a full disk."""
    max_size = chance.choice([0, 100, 5_000, 50_000, 500_000, 5_000_000])
    with _import(database, log, max_size) as running:
        _, words = running.communicate(timeout=120)
    lines = words.decode().splitlines()
    assert running.returncode == 0 or (running.returncode == 2 and len(lines) == 1), words
    return running.returncode == 0


def _import(database: Path, log: Path, max_size: int | None = None) -> subprocess.Popen[bytes]:
    limit = None
    if max_size is not None:
        limit = partial(resource.setrlimit, resource.RLIMIT_FSIZE, (max_size, max_size))
    command = [sys.executable, "-m", "vastlab", "import", "-e", str(database), "--force", str(log)]
    return subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, preexec_fn=limit
    )


def _import_whole(database: Path, log: Path) -> None:
    with _import(database, log) as running:
        _, words = running.communicate()
    assert running.returncode == 0, words


INTERRUPTS: dict[str, Interrupt] = {"kills": killed, "full-disk": without_space}


def measure(name: str, number: int, seed: int) -> dict[str, int]:
    """Interrupt a number of imports into one database, and check it after each."""
    chance = random.Random(seed)  # noqa: S311 - the seed makes a run repeatable
    with tempfile.TemporaryDirectory(prefix="vastlab-soak-") as folder:
        log, path = Path(folder, "log.arrow"), Path(folder, "soak.db")
        with log.open("wb") as sink:
            write_streams(sink, demo.batches(EVENTS))
        started = time.monotonic()
        _import_whole(path, log)
        usual, ended = time.monotonic() - started, 1
        for _ in range(number):
            ended += INTERRUPTS[name](path, log, chance, usual)
            with vastlab.connect(str(path)) as connection:
                whole, rest = divmod(connection.count(), EVENTS)
            # A kill may come after the commit and before the end of the process.
            assert rest == 0, f"{rest} events of an import that did not end"
            assert whole >= ended, f"{ended - whole} imports are lost"
            ended = whole
            assert check(Database.open(path)) == []
        _import_whole(path, log)
        left = sum(1 for entry in (path / "staging").iterdir())
        assert left == 0, f"{left} entries are left in the staging folder"
    return {"imports": number, "ended": ended - 1}


if __name__ == "__main__":
    seed = time.time_ns()
    print(json.dumps({"seed": seed} | measure(sys.argv[1], int(sys.argv[2]), seed)))
