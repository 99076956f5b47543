"""Asks in turn, in CPU time: what is compared shares one run, and answers are compared first.

A benchmark takes the fixture ``compare`` and gives it a row of a table::

    compare("Counts", "one port", {"vastlab": ours, "duckdb": theirs, "pyvast": ABSENT})

The first of the programs is the one that all are measured by. What is no callable says why a
program was not asked. ``VASTLAB_BENCH_EVENTS`` is the scale, ``VASTLAB_BENCH_ROUNDS`` how often
each is asked, and ``VASTLAB_BENCH_JSON`` a file for the numbers.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import resource
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

EVENTS = int(os.environ.get("VASTLAB_BENCH_EVENTS", "1000000"))
ROUNDS = int(os.environ.get("VASTLAB_BENCH_ROUNDS", "5"))
_PAUSE, _PATIENCE = 0.02, 5.0  # seconds
ABSENT = "absent"  # the program is not installed
OTHERWISE = "cannot"  # the program cannot be asked this

Ask = Callable[[], Any]
_LIBRARIES = (
    "vastlab", "pyarrow", "datafusion", "pandas", "duckdb", "polars", "tenzir", "pyvast",
)  # fmt: skip


def version(library: str) -> str:
    """Return the version of a library, or that it is absent."""
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return ABSENT


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """An answer of another process, which measured the seconds of CPU that it took."""

    answer: Any
    seconds: float


def cpu(ask: Ask) -> float:
    """Return the seconds of CPU that an answer takes, in this process and those it starts."""
    started = _spent()
    answer = ask()
    return answer.seconds if isinstance(answer, Elsewhere) else _settled() - started


def _asked(ask: Ask) -> Any:
    answer = ask()
    return answer.answer if isinstance(answer, Elsewhere) else answer


def _settled() -> float:
    """Return the CPU when nothing runs on: threads may read ahead when an answer is there."""
    spent, deadline = _spent(), time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        time.sleep(_PAUSE)
        before, spent = spent, _spent()
        if spent - before < _PAUSE / 10:
            break
    return spent


def _spent() -> float:
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(each.ru_utime + each.ru_stime for each in used)


def installed() -> dict[str, str]:
    """Return an environment in which imports keep their bytecode, as an installation has it."""
    return {name: text for name, text in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def least(asks: Mapping[str, Ask], rounds: int = ROUNDS) -> dict[str, float]:
    """Ask in turn, so that the load of the machine is the same for all, and take the least.

    Other work only adds to what an answer takes: a neighbour's use of the memory was seen to double
    single rounds.
    """
    spent = [{name: cpu(ask) for name, ask in asks.items()} for _ in range(rounds)]
    return {name: min(turn[name] for turn in spent) for name in asks}


@dataclass(frozen=True, slots=True)
class Row:
    """One question: the CPU of the first program, and that of the others over it."""

    question: str
    answer: str
    seconds: float
    ratios: Mapping[str, float | str]
    note: str


@dataclass
class Report:
    """The tables of a run."""

    tables: dict[str, list[Row]] = field(default_factory=dict)

    def add(
        self,
        table: str,
        question: str,
        asks: Mapping[str, Ask | str],
        *,
        same: Callable[[Any, Any], bool] = lambda ours, theirs: bool(ours == theirs),
        show: Callable[[Any], str] = lambda answer: f"{answer:,}",
        note: str = "",
    ) -> Row:
        """Compare the answers, then the times.

        Parameters
        ----------
        table, question
            Where the row belongs, and what it is called.
        asks
            What asks each program; the first is the one that all are measured by.
        same
            Whether the answers of the first and of another one agree.
        show
            Writes the answer of the first.
        note
            What differs in the work of the programs.
        """
        running = {name: ask for name, ask in asks.items() if callable(ask)}
        first, *others = running
        answers = {name: _asked(ask) for name, ask in running.items()}
        for name in others:
            assert same(answers[first], answers[name]), f"{question}: {name} answers otherwise"
        taken = least(running)
        ratios = {
            name: taken[name] / taken[first] if callable(ask) else ask
            for name, ask in asks.items()
            if name != first
        }
        row = Row(question, show(answers[first]), taken[first], ratios, note)
        self.tables.setdefault(table, []).append(row)
        return row

    def text(self) -> str:
        """Write the tables as Markdown."""
        return "\n".join(["", *machine(), *(_written(*table) for table in self.tables.items())])

    def content(self) -> dict[str, Any]:
        """Return the numbers, and where they were measured."""
        tables = {name: [asdict(row) for row in rows] for name, rows in self.tables.items()}
        return {"run": machine(), "events": EVENTS, "rounds": ROUNDS, "tables": tables}


def save(content: Any) -> None:
    """Write the numbers to the file that the variable names, if it names one."""
    if name := os.environ.get("VASTLAB_BENCH_JSON"):
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, indent=1) + "\n")


def machine() -> list[str]:
    """Describe the machine and the versions."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    versions = ", ".join(f"{name} {version(name)}" for name in _LIBRARIES)
    return [
        f"{datetime.date.today()}, {os.cpu_count()} cores, {memory:.0f} GB, {platform.platform()}",
        f"Python {platform.python_version()}, {versions}",
        f"{EVENTS:,} events, least of {ROUNDS} rounds in turn, CPU time of the process",
    ]


def _written(name: str, rows: list[Row]) -> str:
    others = list(dict.fromkeys(other for row in rows for other in row.ratios))
    lines = [
        [
            row.question,
            row.answer,
            f"{1000 * row.seconds:,.1f}",
            *(ratio(row.ratios.get(other, "")) for other in others),
            row.note,
        ]
        for row in rows
    ]
    return markdown(name, ["question", "answer", "ms", *others, "what differs"], lines)


def markdown(title: str, head: list[str], rows: list[list[str]]) -> str:
    """Write a table."""
    lines = [head, ["---"] * len(head), *rows]
    cells = (" | ".join(cell.replace("|", "\\|") for cell in line) for line in lines)
    return "\n".join([f"\n## {title}\n", *(f"| {line} |" for line in cells)])


def ratio(number: float | str) -> str:
    """Write a ratio with two digits, or why there is none."""
    return number if isinstance(number, str) else f"{number:.{0 if number >= 10 else 2}f}"
