"""Peak memory, each time of a process of its own, above what it takes after its imports."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

from tests.benchmarks.test_readers import HEADER, body

pytestmark = [pytest.mark.full, pytest.mark.timeout(900)]
EVENTS = 10_000_000
LINES, BLOCKS = 2_000_000, 20
PROGRAM = """
import asyncio, re, sys
from pathlib import Path
import pyarrow.parquet
from vastlab import VAST, _lazy, demo, to_json_rows
from vastlab.store.database import Database
from vastlab.store.ingest import ingest

_lazy.pd.DataFrame, _lazy.datafusion.SessionContext  # both are imports, too

def mebibytes(key):
    status = Path("/proc/self/status").read_text()
    return int(re.search(rf"{key}:\\s+([0-9]+)", status)[1]) >> 10

async def main(path, *args):
"""
ACTIONS = {
    "make": "Database.create(path).add(demo.batches(int(args[0])))\nreturn int(args[0])",
    "ingest": "return sum(ingest(Database.create(path), args[0]).events.values())",
    "export": """
        async with VAST(path) as vast:
            return sum([part.num_rows async for part in vast.export("", limit=0)])
    """,
    "count": """
        async with VAST(path) as vast:
            asked = "uid == /C.*a.*1/"
            matching, others = await vast.count(asked), await vast.count(f"! ({asked})")
            assert matching > 0 and others > 0
            return matching + others - await vast.count("uid != null")
    """,
    "cluster": """
        import vastlab
        first, number = mebibytes("VmRSS"), 0
        with vastlab.local_cluster(2) as workers:
            async with VAST(path, cluster=workers) as vast:
                async for part in vast.export("", limit=0):
                    if number < 1_000_000 <= number + part.num_rows:
                        first = mebibytes("VmHWM")
                    number += part.num_rows
        print(number, mebibytes("VmHWM") - first)
        sys.exit()  # what Dask takes to start is not in it
    """,
    "rows": """
        async with VAST(path) as vast:
            return sum([1 async for _ in to_json_rows(vast.export("", limit=500_000))])
    """,
}


def peak(expected: int, action: str, *args: object) -> int:
    """Check the answer of an action, and return its peak in MiB above the imports."""
    code = PROGRAM + textwrap.indent(textwrap.dedent(ACTIONS[action]), "    ")
    code += """
before = mebibytes("VmRSS")
answer = asyncio.run(main(*sys.argv[1:]))
print(answer, mebibytes("VmHWM") - before)
"""
    command = (sys.executable, "-c", code, *map(str, args))
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=900, check=True)
    answer, used = map(int, done.stdout.split())
    assert answer == expected
    return used


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Make the database; return its path, and what making it took."""
    path = tmp_path_factory.mktemp("memory") / "events.db"
    return path, peak(EVENTS, "make", path, EVENTS)


def test_writing_holds_a_part_of_the_events(made):
    """Events are sorted and written in parts, apart from those that are being made."""
    assert made[1] < 400


@pytest.mark.parametrize("action, expected", [("export", EVENTS), ("count", 0), ("rows", 500_000)])
def test_reading_holds_a_part_of_the_events(made, action, expected):
    """An answer passes through, however large it is."""
    assert peak(expected, action, made[0]) < 600


def test_an_export_through_a_cluster_holds_some_pieces(made):
    """After the first million events, nothing more is taken for the others."""
    assert peak(EVENTS, "cluster", made[0]) < 64


@pytest.mark.parametrize("format_", ["zeek", "csv"])
@pytest.mark.parametrize("in_order", [True, False])
def test_ingest_holds_a_part_of_the_log(tmp_path, in_order, format_):
    """A log is read in blocks, whether its events are in order or have to be sorted."""
    log, lines = tmp_path / "conn.log", body(LINES // BLOCKS).splitlines(keepends=True)
    header = HEADER
    if format_ == "csv":
        lines = [line.replace(b"\t", b",") for line in lines]
        names = next(line for line in HEADER.splitlines() if line.startswith(b"#fields"))
        header = names.removeprefix(b"#fields\t").replace(b"\t", b",") + b"\n"
    with log.open("wb") as file:
        file.write(header)
        for block in range(BLOCKS):
            later = 1000 * block if in_order else 0
            file.writelines(b"%d%b" % (int(line[:10]) + later, line[10:]) for line in lines)
    assert peak(LINES, "ingest", tmp_path / "new.db", log) < 400
