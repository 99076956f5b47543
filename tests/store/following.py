"""Logs in three formats, and an export that follows a folder of them step by step."""

from __future__ import annotations

import pyarrow.parquet as pq
import pytest

from vastlab.nodes.arrivals import Arrivals
from vastlab.store.log_folder import LogFolder

ZEEK_HEADER = (
    "#separator \\x09\n#set_separator\t,\n#empty_field\t(empty)\n#unset_field\t-\n"
    "#path\tconn\n#fields\tts\tn\n#types\ttime\tcount\n"
)


def json_line(n):
    return f'{{"n": {n}}}\n'


def csv_line(n):
    return f'"a ""quoted""\ntext",{n}\n'


def zeek_line(n):
    return f"1.5\t{n}\n"


FORMATS = {
    "a.json": ("", json_line),
    "b.csv": ("t,n\n", csv_line),
    "c.log": (ZEEK_HEADER, zeek_line),
}
each_format = pytest.mark.parametrize("name, header, line", [(n, *f) for n, f in FORMATS.items()])


class Follower:
    """An export that follows a folder, driven step by step."""

    def __init__(self, logs, cache):
        self.logs = logs
        self.folder = LogFolder(logs, cache)
        self.arrivals = None
        self.seen = []
        self.warnings = []

    def begin(self):
        """Count what is there as known."""
        database = self.folder.refresh()
        self.arrivals = Arrivals(str(database.place), database.snapshot())

    def poll(self):
        """Return the values of `n` that arrived."""
        database = self.folder.refresh()
        _, files, warnings = self.arrivals.next(database)
        found = values(files)
        self.seen += found
        self.warnings += warnings
        return sorted(found)

    def historical(self):
        """Return the values of `n` that a query finds now."""
        return sorted(values(self.folder.refresh().snapshot().files))


def values(files):
    rows = (row for file in files for row in pq.read_table(file.path).to_pylist())
    return [int(row["n"]) for row in rows if row.get("n") is not None]


def append(path, text):
    with path.open("a") as stream:
        stream.write(text)


def start(follower, name, header, line, *numbers):
    """Write a log and follow the folder from then on."""
    path = follower.logs / name
    path.write_text(header + "".join(map(line, numbers)))
    follower.begin()
    return path
