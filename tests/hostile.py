"""What attackers write: in values and names of events, in file names, in what is typed."""

from __future__ import annotations

import re
from pathlib import Path

from tests import arrow_strategies as arrow
from vastlab.arrow import schema as arrow_schema
from vastlab.arrow import types as arrow_arrays
from vastlab.store.database import Database
from vastlab.types import Field, Kind, Schema, Type

EVIL = (
    '<img src=x onerror="window.__p=1">',
    "<script>window.__p=1</script>",
    "</style></textarea></pre><img src=x onerror=window.__p=1>",
    "\x1b[31mred\x1b[0m\x07",
    "safe\u202egnp.exe\u2066",
    "a\u0085b\u009b31m",
    "$\\href{javascript:window.__p=1}{x}$",
    "[x](javascript:window.__p=1)",
)
FILE = '<img src=x onerror="window.__p=1">\x1b[31mred\x07safe\u202egnp'
"""All of it that a file name can hold."""
FINE = (
    *("query table", "query json", "query csv", "status", "check"),
    *("count --schemas table", "count --schemas json", "count --schemas csv"),
    *("top #type table", "top #type json", "top #type csv"),
)
"""The commands below that succeed."""
_FOLDER = '<img src=x onerror="window.__p=1">safe\u202egnp'
"""And the name of a database, which the engine wants without control characters."""
# Blanks, and what a page needs between its lines.
_CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
# What may be written to a terminal: colours, and the moves of a progress bar.
_OURS = re.compile(r"\x1b\[([0-9;]*m|\?25[lh]|2K|1A)|\r")
_THEIRS = ("\x1b[31mred", "\x1b[0m\x07")


def controls(text: str, *, terminal: bool = False) -> list[str]:
    """Find control characters, each with what is around it.

    Parameters
    ----------
    text
        What was shown.
    terminal
        Whether vastlab may colour it and move the cursor; what attackers do counts all the same.
    """
    found = [words for words in _THEIRS if words in text]
    rest = _OURS.sub("", text) if terminal else text
    return found + [rest[max(0, m.start() - 60) : m.end()] for m in _CONTROLS.finditer(rest)]


def database(folder: Path) -> Path:
    """Make a database in which every name and every text is hostile, its own name too."""
    path = folder / f"{_FOLDER}.db"
    made = Database.create(path)
    for number, evil in enumerate(EVIL):
        schema = Schema(
            f"{number}{evil}",
            (
                Field("ts", Type(Kind.TIME, names=("timestamp",))),
                Field("src_ip", Type(Kind.IP)),
                Field("dest_ip", Type(Kind.IP)),
                Field("label", Type(Kind.ENUM, labels=((evil, 0), ("other", 1)))),
                Field("text", Type(Kind.STRING)),
                Field(evil, Type(Kind.RECORD, fields=(Field(evil, Type(Kind.STRING)),))),
            ),
        )
        address = bytes(10) + b"\xff\xff\x0a\0\0\1"
        values = ([number], [address], [address], [evil], [evil], [(evil,)])
        columns = [
            arrow.array(field.type, column)
            for field, column in zip(schema.fields, values, strict=True)
        ]
        made.add([arrow_arrays.record_batch(columns, arrow_schema.to_arrow(schema), 1)])
    return path


def logs(folder: Path) -> dict[str, Path]:
    """Make files with hostile names: one with a malformed line, one that is not a log."""
    torn = folder / f"torn {FILE}.json"
    torn.write_text('{"a": 1}\n{"a": "\x1b<script>window.__p=1</script>\n{"a": 2}\n')
    nothing = folder / f"nothing {FILE}.log"
    nothing.write_bytes(b"\x1b[31mred<script>window.__p=1</script>\0\x07")
    return {"torn": torn, "nothing": nothing, "missing": folder / f"missing {FILE}.log"}


def commands(database: Path, logs: dict[str, Path]) -> dict[str, list[str]]:
    """List commands of the shell that have something hostile to say, each with a name."""
    ask, new = ["-e", str(database)], ["-e", str(database.parent / f"new {_FOLDER}.db")]
    asked = {
        f"{command} {format_}": [*command.split(), *ask, "-f", format_]
        for command in ("query", "count --schemas", "top #type")
        for format_ in ("table", "json", "csv")
    }
    return asked | {
        "status": ["status", *ask],
        "check": ["check", *ask],
        "a wrong expression": ["query", *ask, f'"{EVIL[0][:14]}\x1b[31mred" == =='],
        "no such command": [EVIL[0] + EVIL[3]],
        "no such option": ["query", f"--{EVIL[0]}{EVIL[3]}"],
        "no number": ["query", "-n", EVIL[0] + EVIL[3]],
        "no endpoint": ["query", "-e", f"{database}/{FILE}"],
        "a malformed line": ["import", *new, str(logs["torn"])],
        "the same again": ["import", *new, str(logs["torn"])],
        "a malformed line, strictly": ["import", *new, "--strict", "--force", str(logs["torn"])],
        "no log": ["import", *new, str(logs["nothing"])],
        "no file": ["import", *new, str(logs["missing"])],
        "no database": ["check", "-e", str(logs["torn"])],
    }
