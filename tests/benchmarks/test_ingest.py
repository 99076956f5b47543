"""What it costs to put logs into a database, beside DuckDB and pyarrow.

DuckDB writes the same lines as sorted Parquet, and pyarrow merely reads them. All three run in
turn, and the least CPU time counts. The number of events, a sum and the digest of a text column
are compared first. vastlab also digests the file, types addresses, and writes Bloom filters and
checksums. ``VASTLAB_BENCH_LINES`` is the number of lines.
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
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet as pq
import pytest

from tests.benchmarks.test_readers import HEADER, body
from vastlab import demo
from vastlab.arrow import render
from vastlab.arrow import schema as arrow_schema
from vastlab.store.database import Database
from vastlab.store.ingest import ingest
from vastlab.store.log_folder import LogFolder
from vastlab.table_slice import TableSlice, row_values

pytestmark = pytest.mark.timeout(0)  # others may use the machine
LINES = int(os.environ.get("VASTLAB_BENCH_LINES", "200000"))
ROUNDS = 3
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
    arrow: Callable[[], object]
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

        def arrow() -> object:
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

        def arrow() -> object:
            return pyarrow.csv.read_csv(path)

    else:
        change = {"zeek-json": zeek_json, "eve": eve, "ndjson": dict}[format_]
        write_lines(path, map(change, objects("suricata" if format_ == "eve" else "zeek.conn")))
        function = f"read_json('{path}', format='newline_delimited')"

        def arrow() -> object:
            return pyarrow.json.read_json(path)

    if format_ == "eve":
        return Case(path, function, arrow, "timestamp", "community_id", "src_port")
    return Case(path, function, arrow, "ts", "uid", "orig_bytes")


def summary(case: Case, files: Iterable[str]) -> tuple[int, int, str]:
    """Return the number of events, the sum of a number, and a digest of a text."""
    parts = [pq.ParquetFile(file).read([case.text, case.number]) for file in files]
    numbers = pa.chunked_array([c.cast(pa.int64()) for p in parts for c in p[case.number].chunks])
    texts = sorted(str(value) for part in parts for value in part[case.text].to_pylist())
    digest = hashlib.sha256("\n".join(texts).encode()).hexdigest()
    return len(texts), pc.sum(numbers).as_py(), digest


def cpu(function: Callable[[], object]) -> float:
    start = time.process_time()
    function()
    return time.process_time() - start


@pytest.mark.parametrize("format_", ["zeek", "csv", "zeek-json", "eve", "ndjson"])
def test_ingest_beside_others(benchmark, tmp_path, format_):
    """Typed, sorted, indexed and on disk, against sorted Parquet, and against merely reading."""
    case = make(format_, tmp_path)
    target = tmp_path / "duckdb.parquet"
    made = iter(range(1000))

    def whole() -> Database:
        database = Database.create(tmp_path / f"{next(made)}.db")
        assert ingest(database, case.path).problem_count == 0
        return database

    def sorted_parquet() -> None:
        question = f'SELECT * FROM {case.duckdb} ORDER BY "{case.time}"'
        duckdb.connect().execute(f"COPY ({question}) TO '{target}' (COMPRESSION zstd)")

    sorted_parquet()
    files = [file.path for file in benchmark.pedantic(whole, rounds=1).snapshot().files]
    assert summary(case, files) == summary(case, [str(target)])
    rounds = [(cpu(whole), cpu(sorted_parquet), cpu(case.arrow)) for _ in range(ROUNDS)]
    mine, other, read = map(min, zip(*rounds, strict=True))
    (peak, two), (_, one) = (child(case.path, tmp_path / f"child{n}.db", n) for n in (2, 1))
    print(
        f"\n{format_}, {case.path.stat().st_size / 1e6:.0f} MB: {mine:.2f} s CPU; "
        f"x DuckDB {other / mine:.2f}, x pyarrow {read / mine:.2f}; {peak:.0f} MiB above the "
        f"imports; wall on two cores {two / one:.2f} of one"
    )


def child(log: Path, database: Path, cores: int) -> tuple[float, float]:
    """Ingest in a process of its own; return its peak memory in MiB, and its wall time."""
    argv = (sys.executable, "-c", CHILD, str(log), str(database), str(cores))
    done = subprocess.run(argv, capture_output=True, check=True, text=True, timeout=600)
    peak, wall = map(float, done.stdout.split())
    return peak, wall


def test_folder_of_small_logs(benchmark, tmp_path):
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

    def opened() -> list[str]:
        database = LogFolder(folder, tmp_path / "cache").refresh()
        return [file.path for file in database.snapshot().files]

    case = Case(folder, read_logs(folder), lambda: None, "ts", "uid", "orig_bytes")
    target = tmp_path / "duckdb.parquet"

    def sorted_parquet() -> None:
        question = f"SELECT * FROM {case.duckdb} ORDER BY ts"
        duckdb.connect().execute(f"COPY ({question}) TO '{target}' (COMPRESSION zstd)")

    first = cpu(lambda: benchmark.pedantic(opened, rounds=1))
    second, other = cpu(opened), cpu(sorted_parquet)
    assert summary(case, opened()) == summary(case, [str(target)])
    print(
        f"\n1,000 logs of 200 lines: first opening {first:.2f} s CPU, second {second:.2f} s; "
        f"DuckDB, which is told their columns, writes them as sorted Parquet in {other:.2f} s"
    )


def read_logs(folder: Path) -> str:
    """Return how DuckDB reads logs without finding out their columns, which takes it 10 s."""
    lines = HEADER.decode().splitlines()
    fields, types = (line.split("\t")[1:] for line in lines[-2:])
    known = {"time": "DOUBLE", "interval": "DOUBLE", "port": "INTEGER", "count": "BIGINT"}
    columns = {name: known.get(type_, "VARCHAR") for name, type_ in zip(fields, types, strict=True)}
    form = f"delim='\t', quote='', escape='', header=false, skip={len(lines)}"
    found = f"auto_detect=false, nullstr='-', columns={columns}"
    return f"read_csv('{folder}/*.log', {form}, {found})"
