"""What it costs to put logs into a database, beside DuckDB, pyarrow and Tenzir.

DuckDB writes the same lines as sorted Parquet; pyarrow and Tenzir merely read them. The number of
events is compared first, and with DuckDB a sum and the digest of a text column. vastlab also
digests the file, types addresses, and writes Bloom filters and checksums.
``VASTLAB_BENCH_LINES`` is the number of lines.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet as pq
import pytest

from tests.benchmarks.measure import ABSENT, version
from tests.benchmarks.test_readers import HEADER, body
from vastlab import demo
from vastlab.arrow import render
from vastlab.arrow import schema as arrow_schema
from vastlab.nodes import process
from vastlab.store.database import Database
from vastlab.store.ingest import ingest
from vastlab.store.log_folder import LogFolder
from vastlab.table_slice import TableSlice, row_values

pytestmark = pytest.mark.timeout(0)  # others may use the machine
LINES = int(os.environ.get("VASTLAB_BENCH_LINES", "200000"))
TABLE = "Ingest: the CPU of others over that of vastlab"
_SIGNED = 1 << 63  # DuckDB takes the type of a number from a sample, and fails at larger ones
# Peak memory above the imports, and wall time, in a process of its own on some cores.
CHILD = """
import os, re, sys, time
from pathlib import Path
from vastlab.store.database import Database
from vastlab.store.ingest import ingest
def kib(key):
    status = Path("/proc/self/status").read_text()
    return int(re.search(rf"{key}:\\s+([0-9]+)", status)[1])
os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:int(sys.argv[3])])
before, start = kib("VmRSS"), time.perf_counter()
ingest(Database.create(sys.argv[2]), sys.argv[1])
print((kib("VmHWM") - before) // 1024, time.perf_counter() - start)
"""


@dataclass(frozen=True)
class Case:
    """Lines of one format, and how the others read them."""

    path: Path
    duckdb: str  # the table function
    arrow: Callable[[], pa.Table]
    tenzir: str  # the operator that parses it
    time: str
    text: str
    number: str


def events(module: str) -> Iterator[tuple[str, pa.RecordBatch]]:
    """Yield events of the demo until there are enough of a module."""
    left = LINES
    for batch in demo.batches(LINES * 6):
        name = arrow_schema.name_of(batch.schema)
        if name.startswith(module) and left > 0:
            yield name, batch.slice(0, left)
            left -= batch.num_rows


def objects(module: str) -> Iterator[dict[str, Any]]:
    """Yield events as JSON objects, without numbers that are too large for DuckDB."""
    for name, batch in events(module):
        for row in row_values(TableSlice(batch)):
            if fits(row):
                yield {"#type": name, **row}


def fits(value: object) -> bool:
    """Return whether DuckDB can read all numbers, also those in nested records."""
    match value:
        case dict():
            return all(map(fits, value.values()))
        case list():
            return all(map(fits, value))
        case _:
            return not isinstance(value, int) or value < _SIGNED


def zeek_json(row: dict[str, Any]) -> dict[str, Any]:
    """Write an event as Zeek does: flat names, seconds, no nulls."""
    seconds = pa.scalar(row["ts"]).cast(pa.timestamp("ns")).cast(pa.int64()).as_py() / 1e9
    flat = {**row, **{f"id.{key}": value for key, value in row["id"].items()}}
    flat |= {"ts": round(seconds, 6), "duration": row["duration"] and row["orig_pkts"] % 997 / 7}
    return {k: v for k, v in flat.items() if v is not None and k not in ("#type", "id")}


def eve(row: dict[str, Any]) -> dict[str, Any]:
    """Write an event as Suricata does: without nulls, times with a zone."""
    return {
        key: eve(value)
        if isinstance(value, dict)
        else f"{value[:26]}+0000"
        if key in ("timestamp", "start", "end")
        else value
        for key, value in row.items()
        if value is not None and key != "#type"
    }


def write_lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    with path.open("w") as file:
        file.writelines(json.dumps(row, separators=(",", ":")) + "\n" for row in rows)


def make(format_: str, folder: Path) -> Case:
    """Write the lines of a format."""
    path = folder / {"zeek": "conn.log", "csv": "conn.csv"}.get(format_, f"{format_}.json")
    if format_ == "zeek":
        found = folder / "body.tsv"
        found.write_bytes(body(LINES))
        path.write_bytes(HEADER + found.read_bytes())
        fields = next(line for line in HEADER.decode().split("\n") if line.startswith("#fields"))
        names = fields.split("\t")[1:]
        function = f"read_csv('{found}', delim='\t', header=false, nullstr='-', names={names})"

        def arrow() -> pa.Table:
            options = pyarrow.csv.ParseOptions(delimiter="\t", quote_char=False)
            read = pyarrow.csv.ReadOptions(autogenerate_column_names=True)
            return pyarrow.csv.read_csv(found, read, options)

    elif format_ == "csv":
        columns = [render.columns(batch) for _, batch in events("zeek.conn")]
        texts = pa.concat_tables([pa.table(dict(one)) for one in columns])
        texts = texts.filter(pc.less(pc.utf8_length(pc.fill_null(texts["orig_bytes"], "")), 19))
        texts = texts.filter(pc.less(pc.utf8_length(pc.fill_null(texts["resp_bytes"], "")), 19))
        names = pa.array(["zeek.conn"] * texts.num_rows)
        render.write_csv(texts.add_column(0, render.TYPE, names), path)
        function = f"read_csv('{path}')"

        def arrow() -> pa.Table:
            return pyarrow.csv.read_csv(path)

    else:
        change = {"zeek-json": zeek_json, "eve": eve, "ndjson": dict}[format_]
        write_lines(path, map(change, objects("suricata" if format_ == "eve" else "zeek.conn")))
        function = f"read_json('{path}', format='newline_delimited')"

        def arrow() -> pa.Table:
            return pyarrow.json.read_json(path)

    if format_ == "eve":
        return Case(path, function, arrow, "read_suricata", "timestamp", "community_id", "src_port")
    operator = {"zeek": "read_zeek_tsv", "csv": "read_csv"}.get(format_, "read_ndjson")
    return Case(path, function, arrow, operator, "ts", "uid", "orig_bytes")


def summary(case: Case, files: Iterable[str]) -> tuple[int, int, str]:
    """Return the number of events, the sum of a number, and a digest of a text."""
    parts = [pq.ParquetFile(file).read([case.text, case.number]) for file in files]
    numbers = pa.chunked_array([c.cast(pa.int64()) for p in parts for c in p[case.number].chunks])
    texts = sorted(str(value) for part in parts for value in part[case.text].to_pylist())
    digest = hashlib.sha256("\n".join(texts).encode()).hexdigest()
    return len(texts), pc.sum(numbers).as_py(), digest


def sorted_parquet(case: Case, target: Path) -> Callable[[], Path] | str:
    """Return what writes a case with DuckDB."""
    if version("duckdb") == ABSENT:
        return ABSENT

    def write() -> Path:
        import duckdb

        question = f'SELECT * FROM {case.duckdb} ORDER BY "{case.time}"'
        duckdb.connect().execute(f"COPY ({question}) TO '{target}' (COMPRESSION zstd)")
        return target

    return write


def counted_by_tenzir(case: Case) -> Callable[[], int] | str:
    """Return what counts the events of a case with Tenzir's own program."""
    program = process.find_tenzir()
    if program is None:
        return ABSENT
    read = f'from_file "{case.path}" {{ {case.tenzir} }} | summarize n=count() | write_ndjson'
    argv = (str(program), "--bare-mode", "--console-verbosity=quiet", read)

    def ask() -> int:
        done = subprocess.run(
            argv, capture_output=True, check=True, timeout=600, env=process.clean_environment()
        )
        return int(json.loads(done.stdout)["n"])

    return ask


def paths(database: Database) -> list[str]:
    return [str(file.path) for file in database.snapshot().files]


def agree(case: Case, ours: Database, theirs: object) -> bool:
    """Compare what was written or read, as far as the other one tells it."""
    match theirs:
        case Path():
            return summary(case, paths(ours)) == summary(case, [str(theirs)])
        case pa.Table():
            return sum(ours.snapshot().counts.values()) == theirs.num_rows
        case _:
            return sum(ours.snapshot().counts.values()) == theirs


@pytest.mark.parametrize("format_", ["zeek", "csv", "zeek-json", "eve", "ndjson"])
def test_ingest_beside_others(compare, tmp_path, format_):
    """Typed, sorted, indexed and on disk, against sorted Parquet, and against merely reading."""
    case = make(format_, tmp_path)
    made = iter(range(1000))

    def whole() -> Database:
        database = Database.create(tmp_path / f"{next(made)}.db")
        assert ingest(database, case.path).problem_count == 0
        return database

    (peak, two), (_, one) = (child(case.path, tmp_path / f"child{n}.db", n) for n in (2, 1))
    asks = {
        "vastlab": whole,
        "duckdb": sorted_parquet(case, tmp_path / "duckdb.parquet"),
        "pyarrow": case.arrow,
        "tenzir": counted_by_tenzir(case),
    }
    compare(
        TABLE,
        f"{format_}, {case.path.stat().st_size / 1e6:.0f} MB",
        asks,
        same=partial(agree, case),
        show=lambda database: f"{sum(database.snapshot().counts.values()):,}",
        note=f"{peak:.0f} MiB above the imports; wall on two cores {two / one:.2f} of one",
    )


def child(log: Path, database: Path, cores: int) -> tuple[float, float]:
    """Ingest in a process of its own; return its peak memory in MiB, and its wall time."""
    argv = (sys.executable, "-c", CHILD, str(log), str(database), str(cores))
    done = subprocess.run(argv, capture_output=True, check=True, text=True, timeout=600)
    peak, wall = map(float, done.stdout.split())
    return peak, wall


def test_folder_of_small_logs(compare, report, tmp_path):
    """1,000 logs of 200 lines: the first opening, and the next one."""
    folder, lines = tmp_path / "logs", body(200_000).splitlines(keepends=True)
    folder.mkdir()
    for i in range(1000):
        (folder / f"conn.{i:04d}.log").write_bytes(
            HEADER + b"".join(lines[i * 200 : (i + 1) * 200])
        )
    old = time.time() - 3600
    for path in folder.iterdir():
        os.utime(path, (old, old))

    made = iter(range(1000))

    def opened(name: str = "") -> Database:
        return LogFolder(folder, tmp_path / (name or f"cache{next(made)}")).refresh()

    case = Case(folder, read_logs(folder), pa.table, "", "ts", "uid", "orig_bytes")
    asks = {"vastlab": opened, "duckdb": sorted_parquet(case, tmp_path / "duckdb.parquet")}
    show = lambda database: f"{database.snapshot().counts['zeek.conn']:,}"  # noqa: E731 - one call
    note = "DuckDB is told the columns"
    same = partial(agree, case)
    compare(TABLE, "1,000 logs, first opening", asks, same=same, show=show, note=note)
    opened("kept")
    report.add(TABLE, "1,000 logs, next opening", {"vastlab": lambda: opened("kept")}, show=show)


def read_logs(folder: Path) -> str:
    """Return how DuckDB reads logs without finding out their columns, which takes it 10 s."""
    lines = HEADER.decode().splitlines()
    fields, types = (line.split("\t")[1:] for line in lines[-2:])
    known = {"time": "DOUBLE", "interval": "DOUBLE", "port": "INTEGER", "count": "BIGINT"}
    columns = {name: known.get(type_, "VARCHAR") for name, type_ in zip(fields, types, strict=True)}
    form = f"delim='\t', quote='', escape='', header=false, skip={len(lines)}"
    found = f"auto_detect=false, nullstr='-', columns={columns}"
    return f"read_csv('{folder}/*.log', {form}, {found})"
