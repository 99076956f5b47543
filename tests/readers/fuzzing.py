"""Mutated logs of every format, ingested and read back: a program that a test starts.

It prints one line for each chunk of cases, and ends with a status other than 0 (or by a signal)
where a case did harm. By hand::

    python -m tests.readers.fuzzing SEED CASES
"""

from __future__ import annotations

import gzip
import io
import json
import random
import resource
import signal
import sys
import tempfile
from collections.abc import Callable
from itertools import chain
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

import vastlab
from tests import arrow_strategies as arrow_st
from vastlab.arrow import render
from vastlab.arrow import schema as arrow_schema
from vastlab.arrow import types as arrow_arrays
from vastlab.errors import VastlabError
from vastlab.store.check import check
from vastlab.store.database import Database
from vastlab.store.ingest import ingest
from vastlab.types import Field, Kind, Schema, Type

CHUNK = 20  # cases that share a database
SECONDS = 30  # of one chunk, on a processor
MEMORY = 6 << 30  # address space of the program

_TEXTS = (
    *(b"1e-999999999", b"1e309", b"NaN", b"-0", b"9" * 400, b"0x1p4", b"18446744073709551616"),
    *(b"9999-12-31T23:59:60.9999999999Z", b"1601-01-01", b"24:00", b"163.82ms", b"1.28m"),
    *(b"\xff", b"\0", b"\xef\xbb\xbf", b"\r\n", b"\n", b"\t", b",", b";", b"|", b'"', b"'", b"\\"),
    *(b'"\\ud800"', b'"\\u0000"', b"\\x", b"\\x0", b"(empty)", b"-", b"null", b"[]", b"{}", b"="),
    *(b"[" * 3000, b'{"a":' * 3000, b'{"id":{"orig_h":"::1"}}', b"10.0.0.0/8", b"::ffff:1.2.3.4"),
    *(b"#separator \\x09\n", b"#fields\ta\ta\n", b"#types\ttable[\n", b"#path\t\n", b"#close\n"),
)
_NUMBERS = (0, 1, -1, 2**15, 2**31 - 1, 2**31, 2**40, 2**63 - 1, -(2**63), 1_000_000)
_ZEEK = (
    b"#separator \\x09\n#set_separator\t,\n#empty_field\t(empty)\n#unset_field\t-\n#path\tconn\n"
    b"#fields\tts\tuid\tid.orig_h\tid.orig_p\tproto\tduration\ttunnel_parents\tlocal_orig\n"
    b"#types\ttime\tstring\taddr\tport\tenum\tinterval\tset[string]\tbool\n"
    + b"".join(
        b"%d.5\tC%d\t10.0.0.%d\t%d\ttcp\t0.25\ta,b\t%s\n" % (i, i, i, i, b"TF-"[i % 3 : i % 3 + 1])
        for i in range(12)
    )
    + b"#close\t2024-01-01-00-00-00\n"
)


def main(seed: int, cases: int) -> None:
    """Run some cases, chunk by chunk."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    samples = make_samples()
    for first in range(seed, seed + cases, CHUNK):
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        seeds = range(first, min(first + CHUNK, seed + cases))
        with tempfile.TemporaryDirectory(prefix="vastlab-fuzz-") as folder:
            accepted = _run(seeds, samples, Path(folder))
        print(first, len(seeds), accepted, flush=True)  # noqa: T201 - for the process that started it


def _run(seeds: range, samples: list[tuple[str, bytes]], folder: Path) -> int:
    """Ingest one file for each seed, read everything back; return how many files were accepted."""
    paths = []
    for seed in seeds:
        suffix, data = mutated(seed, samples)
        paths.append(folder / f"case{seed}.{suffix}")
        paths[-1].write_bytes(data)
    database = Database.create(folder / "x.db")
    try:
        report = ingest(database, paths)
    except VastlabError as error:
        if "a bug in vastlab" in str(error):
            raise
        return 0
    faults = [problem for problem in report.problems if "a bug in vastlab" in problem.reason]
    assert not faults, faults
    assert check(database) == []
    with vastlab.connect(str(database.path)) as connection:
        tables = connection.query(limit=0).to_arrow()
    counts = {name: sum(map(len, parts)) for name, parts in tables.items()}
    assert counts == {name: count for name, count in report.events.items() if count}
    for table in chain.from_iterable(tables.values()):
        table.validate(full=True)
        for batch in table.to_batches():
            render.rows(batch).to_pylist()
    assert not list((database.path / "staging").iterdir())
    return len(report.files)


# --- mutations -------------------------------------------------------------------------------


def mutated(seed: int, samples: list[tuple[str, bytes]]) -> tuple[str, bytes]:
    """Return the suffix and the content of the file for a seed."""
    rng = random.Random(seed)  # noqa: S311 - must repeat itself
    suffix, data = rng.choice(samples)
    pack = rng.choice((bytes,) * 8 + (gzip.compress, _zstd))
    if rng.random() < 0.5:
        return suffix, _mutate(rng, pack(data))
    return suffix, pack(_mutate(rng, data))


def _mutate(rng: random.Random, data: bytes) -> bytes:
    content = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        place = _place(rng, len(content))
        rng.choice(_MUTATIONS)(rng, content, place)
    return bytes(content)


def _place(rng: random.Random, size: int) -> int:
    """Choose a place, often in the metadata at the beginning or the end."""
    near = int(rng.expovariate(1 / 400))
    return max(0, min(size - 1, rng.choice((rng.randrange(size + 1), near, size - 1 - near))))


def _flip(rng: random.Random, content: bytearray, place: int) -> None:
    content[place : place + 1] = bytes([(content or b"\0")[place] ^ 1 << rng.randrange(8)])


def _set(rng: random.Random, content: bytearray, place: int) -> None:
    content[place : place + 1] = bytes([rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))])


def _number(rng: random.Random, content: bytearray, place: int) -> None:
    size = rng.choice((2, 4, 8))
    value = rng.choice(_NUMBERS) & ((1 << 8 * size) - 1)
    content[place : place + size] = value.to_bytes(size, "little")


def _insert(rng: random.Random, content: bytearray, place: int) -> None:
    content[place:place] = rng.choice(_TEXTS)


def _replace(rng: random.Random, content: bytearray, place: int) -> None:
    content[place : place + rng.choice((1, 4, 16))] = rng.choice(_TEXTS)


def _delete(rng: random.Random, content: bytearray, place: int) -> None:
    del content[place : place + rng.choice((1, 2, 4, 8, 64))]
    content[:] = content or b"x"


def _copy(rng: random.Random, content: bytearray, place: int) -> None:
    start, size = rng.randrange(len(content)), rng.randrange(1, 64)
    content[place : place + rng.choice((0, size))] = content[start : start + size]


def _cut(rng: random.Random, content: bytearray, place: int) -> None:
    del content[max(1, place) :]


_MUTATIONS: tuple[Callable[[random.Random, bytearray, int], None], ...] = (
    *(_flip, _flip, _set, _set, _number, _number, _insert, _replace, _delete, _copy, _cut),
)


# --- valid logs ------------------------------------------------------------------------------


def make_samples() -> list[tuple[str, bytes]]:
    """Make valid logs of all formats, each as a suffix and a content."""
    batch = _events()
    rows = render.rows(batch).to_pylist()
    lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
    eve = [
        {
            "timestamp": f"2024-01-01T00:00:{i:02}.000001+0000",
            "event_type": ("flow", "dns", "alert")[i % 3],
            "src_ip": f"10.0.0.{i}",
            "dest_port": i,
            "flow": {"age": i, "start": "2024-01-01T00:00:00.0+0000"},
            "alert": {"action": "allowed", "signature": "x"},
            "extra": {"n": i, "list": [str(i)]},
        }
        for i in range(12)
    ]
    zeek = [{"ts": i + 0.5, "uid": f"C{i}", "id.orig_h": "::1", "id.orig_p": i} for i in range(9)]
    text = [
        ("log", _ZEEK),
        ("json", lines),
        ("json", json.dumps({"Records": rows}).encode()),
        ("json", "".join(json.dumps(event) + "\n" for event in eve).encode()),
        ("json", "".join(json.dumps(event) + "\n" for event in zeek).encode()),
        ("csv", _csv(batch)),
        ("csv", b'# a feed\nsep=;\nip;name\n10.0.0.1;"a ""b"""\n::1;c\n'),
        ("tsv", b"\xef\xbb\xbfa b\tc-d\n1\t2.5\n3\t-\n"),
    ]
    foreign = _foreign(len(rows))
    return text * 2 + _arrow(batch) + _arrow(foreign) + _parquet(batch) + _parquet(foreign)


def _events() -> pa.RecordBatch:
    """Make events with a field of each type."""
    inner = (Field("orig_h", Type(Kind.IP)), Field("n", Type(Kind.UINT64, names=("port",))))
    types = (
        *(Type(kind) for kind in arrow_st.LEAF_KINDS if kind is not Kind.ENUM),
        Type(Kind.ENUM, labels=(("tcp", 0), ("udp", 5))),
        Type(Kind.LIST, item=Type(Kind.STRING)),
        Type(Kind.LIST, item=Type(Kind.RECORD, fields=inner)),
        Type(Kind.RECORD, fields=inner),
        Type(Kind.MAP, key=Type(Kind.STRING), item=Type(Kind.INT64)),
    )
    schema = Schema("own.events", tuple(Field(f"f{i}", type_) for i, type_ in enumerate(types)))
    columns = [
        arrow_st.array(type_, [_value(type_, row) if row % 4 else None for row in range(12)])
        for type_ in types
    ]
    return arrow_arrays.record_batch(columns, arrow_schema.to_arrow(schema), 12)


def _value(type_: Type, row: int) -> object:
    address = arrow_st.V4_MAPPED + bytes([10, 0, 0, row])
    match type_.kind:
        case Kind.NULL:
            return None
        case Kind.BOOL:
            return row % 2 == 0
        case Kind.DOUBLE:
            return row / 3
        case Kind.STRING:
            return f'text, "{row}"'
        case Kind.BLOB:
            return bytes([row])
        case Kind.IP:
            return address
        case Kind.SUBNET:
            return address[:-1] + b"\0", 120
        case Kind.ENUM:
            return type_.labels[row % 2][0]
        case Kind.LIST:
            return [_value(type_.item or type_, row + i) for i in range(row % 3)]
        case Kind.RECORD:
            return tuple(_value(member.type, row) for member in type_.fields)
        case Kind.MAP:
            return [(f"k{i}", i) for i in range(row % 3)]
        case _:
            return row


def _foreign(size: int) -> pa.RecordBatch:
    """Make events of types that other programs write."""
    numbers = pa.array(range(size), pa.int64())
    texts = pa.array([f"a text of some length {i % 5}" for i in range(size)])
    pairs = [[i, None] if i % 2 else None for i in range(size)]
    return pa.RecordBatch.from_pydict(
        {
            "us": numbers.cast(pa.timestamp("us", "UTC")),
            "date": numbers.cast(pa.int32()).cast(pa.date32()),
            "time": numbers.cast(pa.time64("us")),
            "age": numbers.cast(pa.duration("ms")),
            "decimal": numbers.cast(pa.decimal128(30, 2)),
            "half": numbers.cast(pa.float16()),
            "kind": texts.dictionary_encode(),
            "large": texts.cast(pa.large_string()),
            "pairs": pa.array(pairs, pa.large_list(pa.int8())),
            "fixed": pa.array([[i, i] for i in range(size)], pa.list_(pa.int16(), 2)),
        }
    )


def _arrow(batch: pa.RecordBatch) -> list[tuple[str, bytes]]:
    stream = io.BytesIO()
    renamed = batch.rename_columns(batch.schema.names[::-1])
    arrow_st.write_streams(stream, [batch, batch.slice(3), renamed])
    views = pa.RecordBatch.from_pydict(
        {
            "text": batch.column(0).cast(pa.string(), safe=False).cast(pa.string_view()),
            "list": pa.array([[i] for i in range(batch.num_rows)], pa.list_view(pa.int64())),
            "runs": pa.RunEndEncodedArray.from_arrays([batch.num_rows], ["q"]),
            "union": pa.UnionArray.from_sparse(
                pa.array([0] * batch.num_rows, pa.int8()), [pa.array(range(batch.num_rows))]
            ),
        }
    )
    made = [("arrows", stream.getvalue())]
    for compression in (None, "zstd", "lz4"):
        for new in (pa.ipc.new_file, pa.ipc.new_stream):
            for part in (batch, views):
                sink = io.BytesIO()
                options = pa.ipc.IpcWriteOptions(compression=compression)
                with new(sink, part.schema, options=options) as writer:
                    writer.write_batch(part)
                made.append(("arrow", sink.getvalue()))
    return made


def _parquet(batch: pa.RecordBatch) -> list[tuple[str, bytes]]:
    table = pa.Table.from_batches([batch])
    made = []
    for options in (
        {},
        {"compression": "zstd", "data_page_version": "2.0", "write_page_index": True},
        {"compression": "none", "use_dictionary": False, "row_group_size": 5},
        {"compression": "gzip", "store_schema": False, "bloom_filter_options": {}},
    ):
        sink = io.BytesIO()
        pq.write_table(table, sink, **options)
        made.append(("parquet", sink.getvalue()))
    return made


def _csv(batch: pa.RecordBatch) -> bytes:
    with tempfile.TemporaryDirectory(prefix="vastlab-fuzz-") as folder:
        database = Database.create(Path(folder, "x.db"))
        database.add([batch])
        with vastlab.connect(str(database.path)) as connection:
            connection.query().to_csv(Path(folder, "out"))
        (path,) = Path(folder, "out").iterdir()
        return path.read_bytes()


def _zstd(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return bytes(sink.getvalue())


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
