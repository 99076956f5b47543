"""Two versions of vastlab on one machine: ``python -m tests.benchmarks.revisions REV``.

The commit is checked out in a temporary worktree. Both versions make a database of their own, and
are asked in turn, each time in a process of its own; the least times and their ratios are printed.
``VASTLAB_BENCH_EVENTS``, ``_ROUNDS`` and ``_JSON`` are those of `measure`.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from tests.benchmarks.measure import EVENTS, ROUNDS, cpu, installed, machine, markdown, ratio, save

ROOT = Path(__file__).parents[2]
SCRIPT = Path(__file__).with_name("questions.py")
Answers = dict[str, tuple[float, int]]


@contextmanager
def worktree(revision: str, folder: Path) -> Iterator[Path]:
    """Check a commit out, and remove it again."""
    path = folder / "before"
    git = ("git", "-C", str(ROOT), "worktree")
    subprocess.run((*git, "add", "--quiet", "--detach", str(path), revision), check=True)
    try:
        yield path
    finally:
        subprocess.run((*git, "remove", "--force", str(path)), check=True)


def run(tree: Path, *args: str) -> str:
    """Run Python with the vastlab of a tree."""
    environment = installed() | {"PYTHONPATH": str(tree)}
    command = (sys.executable, *args)
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout


def asked(tree: Path, database: Path) -> Answers:
    """Ask one version, and start its command line."""
    answers: Answers = json.loads(run(tree, str(SCRIPT), "ask", str(database)))
    count = ("-m", "vastlab", "count", "-e", str(database), "resp_p == 53")
    lines = {"import vastlab": ("-c", "import vastlab"), "vastlab count": count}
    lines["vastlab --help"] = ("-m", "vastlab", "--help")
    return answers | {name: (cpu(partial(run, tree, *args)), 0) for name, args in lines.items()}


def compared(turns: list[dict[str, Answers]]) -> Iterator[list[str]]:
    """Yield the rows of the table."""
    for name in turns[0]["after"]:
        answers = {side: turns[0][side][name][1] for side in turns[0]}
        before, after = (min(turn[side][name][0] for turn in turns) for side in ("before", "after"))
        note = "" if answers["before"] == answers["after"] else f"answers differ: {answers}"
        yield [name, f"{1000 * before:,.1f}", f"{1000 * after:,.1f}", ratio(after / before), note]


def main(revision: str) -> None:
    """Print the table, and save it."""
    with tempfile.TemporaryDirectory() as name, worktree(revision, Path(name)) as before:
        sides = {"before": before, "after": ROOT}
        databases = {side: Path(name) / f"{side}.db" for side in sides}
        for side, tree in sides.items():
            run(tree, str(SCRIPT), "make", str(databases[side]), str(EVENTS))
        turns = [
            {side: asked(tree, databases[side]) for side, tree in sides.items()}
            for _ in range(ROUNDS)
        ]
    title = f"This tree after {revision}: CPU in ms, and the ratio"
    rows = list(compared(turns))
    print("\n".join(machine()))
    print(markdown(title, ["what", "before", "after", "after / before", ""], rows))
    save({"title": title, "run": machine(), "events": EVENTS, "turns": turns})


if __name__ == "__main__":
    main(sys.argv[1])
