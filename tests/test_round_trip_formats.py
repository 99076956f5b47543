"""What vastlab writes in any format, it reads back as the same events.

`EXCEPTIONS` names, for each format, what it cannot say; all else is equal: schema names, types,
and values to the last bit.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import math
import re
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import assume, given, reject, settings
from hypothesis import strategies as st

from tests import arrow_strategies as arrow_st
from vastlab import demo, readers
from vastlab.arrow import convert
from vastlab.arrow import schema as arrow_schema
from vastlab.cli import output
from vastlab.display.preview import sort_keys
from vastlab.nodes import process
from vastlab.result import Result
from vastlab.table_slice import TableSlice, to_json_rows
from vastlab.types import Kind, Type

Rows = list[dict[str, Any]]

# Names of schemas for which vastlab ships no types.
NAMES = st.sampled_from(("my.log", "a/b", "../x", "<b>", "ä", "=1+1", "#x", " y ", 'q"', "a,b;c"))
TEXT_KINDS = tuple(kind for kind in Kind if kind is not Kind.MAP)


# --- writing and reading --------------------------------------------------------------------


def written(format_: str, batches: Iterable[pa.RecordBatch]) -> bytes:
    """Return what the shell writes."""
    raw = io.BytesIO()
    with mock.patch.object(sys, "stdout", io.TextIOWrapper(raw, "utf-8", newline="")) as out:
        asyncio.run(output.write(stream(batches), format_, lambda _: None))
        out.flush()
        return raw.getvalue()


async def stream(batches: Iterable[pa.RecordBatch]) -> AsyncIterator[TableSlice]:
    """Yield batches as an export does."""
    for batch in batches:
        yield TableSlice(batch)


def read_back(data: bytes) -> Iterator[pa.RecordBatch]:
    """Read what was written; its content tells the format."""
    return readers.read(io.BytesIO(data))


# --- formats of Arrow ------------------------------------------------------------------------


def some_events(**how: Any) -> st.SearchStrategy[pa.RecordBatch]:
    """Draw one to six events of any schema of which nothing is declared."""
    drawn = arrow_st.tables(names=NAMES, min_fields=1, **how)
    return drawn.map(lambda pair: pair[1]).filter(lambda batch: batch.num_rows > 0)


def null_records_filled(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return the events as Parquet brings them back."""
    return convert.nest(convert.flatten(batch), arrow_schema.from_arrow(batch.schema))


@given(some_events())
def test_arrow_brings_back_any_events(batch):
    """Arrow keeps everything, metadata included."""
    (found,) = read_back(written("arrow", [batch]))
    assert arrow_st.same(found, batch)


@given(some_events())
def test_parquet_brings_back_any_events(batch):
    """Parquet keeps everything but null records, metadata included."""
    assume(arrow_schema.from_arrow(batch.schema).leaves)
    (found,) = read_back(written("parquet", [batch]))
    assert arrow_st.same(found, null_records_filled(batch))


# --- events as plain values -----------------------------------------------------------------


def events(batches: Iterable[pa.RecordBatch]) -> dict[str, Rows]:
    """Return the events of each schema as pairs of kind and value by dotted path.

    Nulls are left out, so that a null record is a record of nulls. Integers have one kind:
    that of their values is the same.
    """
    found: dict[str, Rows] = {}
    for batch in batches:
        schema = arrow_schema.from_arrow(batch.schema)
        columns = [arrow_st.plain(column).to_pylist() for column in batch.columns]
        record = Type(Kind.RECORD, fields=schema.fields)
        rows = found.setdefault(schema.name, [])
        names = [member.name for member in schema.fields]
        for i in range(batch.num_rows):
            values = zip(names, (column[i] for column in columns), strict=True)
            rows.append(_value(dict(values), record) or {})
    return found


def _value(value: Any, type_: Type) -> Any:
    if value is None:
        return None
    match type_.kind:
        case Kind.RECORD:
            return _record(value, type_)
        case Kind.LIST:
            return [_value(item, type_.item or Type(Kind.NULL)) for item in value]
        case Kind.SUBNET:
            return ("subnet", (value["address"], value["length"]))
        case Kind.INT64 | Kind.UINT64:
            return ("integer", value)
        case Kind.DOUBLE:
            return ("double", repr(value))
        case kind:
            return (kind.value, value)


def _record(value: dict[str, Any], type_: Type) -> dict[str, Any] | None:
    members: dict[str, Any] = {}
    for member in type_.fields:
        inner = _value(value[member.name], member.type)
        if isinstance(inner, dict):
            paths = {f"{member.name}.{path}": leaf for path, leaf in inner.items()}
            _distinct(paths, members)
            members |= paths
        elif inner is not None:
            _distinct([member.name], members)
            members[member.name] = inner
    return members or None


def _distinct(paths: Iterable[str], taken: dict[str, Any]) -> None:
    """Give up events in which a field ``a.b`` and a record ``a`` share a path."""
    if not taken.keys().isdisjoint(paths):
        reject()


# --- what formats cannot say ----------------------------------------------------------------

Leaf = tuple[str, Any]
Exception_ = Callable[[Leaf, bool], Leaf | None]  # the second says whether it is in a list


def labels_are_text(leaf: Leaf, _: bool) -> Leaf:
    """Make labels text: those that do not occur are not written."""
    return ("string", leaf[1]) if leaf[0] == "enum" else leaf


def bytes_are_base64(leaf: Leaf, _: bool) -> Leaf:
    """Make bytes text, since JSON and CSV hold nothing else."""
    return ("string", base64.b64encode(leaf[1]).decode()) if leaf[0] == "blob" else leaf


def infinity_is_null(leaf: Leaf, _: bool) -> Leaf | None:
    """Take NaN and infinity away, which JSON has not."""
    return None if leaf[0] == "double" and not math.isfinite(float(leaf[1])) else leaf


def infinity_in_lists_is_null(leaf: Leaf, in_list: bool) -> Leaf | None:
    """Take them away in lists only: a list in a cell is JSON."""
    return infinity_is_null(leaf, in_list) if in_list else leaf


# Besides: JSON and CSV say neither aliases nor attributes, nor which integer type a column has,
# and nothing of columns without values; a text column all of whose values read as another type
# gets that type (`otherwise`); a null record is a record of nulls; maps become records. A field
# that is called `#type` becomes `#type#2`.
EXCEPTIONS: dict[str, tuple[Exception_, ...]] = {
    "json": (labels_are_text, bytes_are_base64, infinity_is_null),
    "csv": (labels_are_text, bytes_are_base64, infinity_in_lists_is_null),
}


def expected(format_: str, rows: Rows) -> Rows:
    """Return what a format brings back of some events."""
    return [_without(_expected(row, EXCEPTIONS[format_], False) or {}) for row in rows]


def _expected(value: Any, exceptions: tuple[Exception_, ...], in_list: bool) -> Any:
    match value:
        case None:
            return None
        case dict():
            members = {k: _expected(v, exceptions, in_list) for k, v in value.items()}
            return _without(members) or None
        case list():
            return [_expected(item, exceptions, True) for item in value]
        case _:
            leaf: Leaf | None = value
            for exception in exceptions:
                leaf = leaf and exception(leaf, in_list)
            return leaf


def _without(members: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}


_WORDS = "|".join(("true", "false", "t", "f", "null", "nil", "none", "nan", "inf", "infinity"))
_OTHERWISE = re.compile(
    rf"\s*([-+.:@0-9\[{{\"].*|[0-9a-f]*:.*|{_WORDS})?\s*", re.IGNORECASE | re.DOTALL
)


def otherwise(rows: Rows) -> set[str]:
    """Return the paths of text that may read as something else, because all values do."""
    plain: dict[str, bool] = {}
    for path, (kind, value) in _leaves(rows, ""):
        if kind == "string":
            plain[path] = plain.get(path, False) or not _OTHERWISE.fullmatch(value)
    return {path for path, is_plain in plain.items() if not is_plain}


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Leaf]]:
    match value:
        case None:
            return
        case dict():
            for name, member in value.items():
                yield from _leaves(member, f"{path}.{name}")
        case list():
            for item in value:
                yield from _leaves(item, f"{path}[]")
        case _:
            yield path, value


def hidden(value: Any, paths: set[str], path: str = "") -> Any:
    """Replace the values at some paths."""
    match value:
        case dict():
            return {name: hidden(member, paths, f"{path}.{name}") for name, member in value.items()}
        case list():
            return [hidden(item, paths, f"{path}[]") for item in value]
        case None:
            return None
        case _:
            return "?" if path in paths else value


def check(
    format_: str, batches: Iterable[pa.RecordBatch], data: bytes, *, in_turn: bool = False
) -> None:
    """Read what was written of some events, and compare."""
    compare(format_, events(read_back(data)), events(batches), in_turn=in_turn)


def compare(
    format_: str, found: dict[str, Rows], original: dict[str, Rows], *, in_turn: bool = False
) -> None:
    """Compare what was read with what a format can say of the original.

    Where schemas are written in turn, each part of a stream has the types that its own events show.
    """
    wanted = {name: expected(format_, rows) for name, rows in original.items()}
    assert found.keys() == wanted.keys()
    for name, rows in wanted.items():
        parts = [[row] for row in rows] if in_turn else [rows]
        paths = set[str]().union(*map(otherwise, parts))
        assert hidden(found[name], paths) == hidden(rows, paths)


# --- text -----------------------------------------------------------------------------------


@pytest.mark.parametrize("format_", ["json", "csv"])
@given(batch=some_events(kinds=TEXT_KINDS))
def test_text_brings_back_any_events(format_, batch):
    """JSON and CSV keep schema names, types and values, but for the named exceptions."""
    check(format_, [batch], written(format_, [batch]))


@given(batch=some_events(kinds=TEXT_KINDS))
def test_rows_bring_back_any_events(batch):
    """Rows of `to_json_rows`, with the schema name beside them, bring back the same as JSON."""

    async def lines() -> list[str]:
        rows = to_json_rows(stream([batch]))
        return [json.dumps({"#type": row.name, **row.data}) async for row in rows]

    check("json", [batch], "\n".join(asyncio.run(lines())).encode())


@settings(max_examples=40)  # each of them has up to 18 tables of one row
@given(st.lists(some_events(kinds=TEXT_KINDS), min_size=2, max_size=3))
@pytest.mark.parametrize("format_", ["json", "csv"])
def test_schemas_may_follow_each_other(format_, batches):
    """Events of several schemas in one file, in turn, are separated by their names."""
    distinct = list({arrow_schema.name_of(batch.schema): batch for batch in batches}.values())
    turns = [batch.slice(i, 1) for i in range(6) for batch in distinct if i < batch.num_rows]
    check(format_, turns, written(format_, turns), in_turn=True)


@given(st.lists(some_events(kinds=TEXT_KINDS), min_size=1, max_size=2))
def test_files_of_a_result_bring_back_any_events(batches):
    """Each file of `to_csv` names its schema, whatever the file is called."""
    distinct = {arrow_schema.name_of(batch.schema): batch for batch in batches}
    result = Result({name: [pa.Table.from_batches([b])] for name, b in distinct.items()})
    with tempfile.TemporaryDirectory() as folder:
        result.to_csv(Path(folder, "out"))
        files = sorted(Path(folder, "out").iterdir())
        assert len(files) == len(distinct)
        found = events(batch for path in files for batch in readers.read(path))
    in_order = [in_time_order(batch) for batch in distinct.values()]
    compare("csv", found, events(in_order))


def in_time_order(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return events in the order of `to_csv`."""
    table = pa.Table.from_batches([batch])
    return batch.take(pa.array(np.argsort(sort_keys(table), kind="stable")))


# --- what else has written ------------------------------------------------------------------

V4 = b"\0" * 10 + b"\xff\xff"
SECOND = 10**9
MOMENT = 1_772_600_767_123_456_000  # 2026-03-04T05:06:07.123456
PRINTED = [
    # durations: VAST, Tenzir, vastlab, pandas
    ("163.82ms", ("duration", 163_820_000)),
    ("1.28m", ("duration", 76_800_000_000)),
    ("1.28min", ("duration", 76_800_000_000)),
    ("2.5h", ("duration", 9_000 * SECOND)),
    ("1.5d", ("duration", 129_600 * SECOND)),
    ("-5us", ("duration", -5_000)),
    ("0ns", ("duration", 0)),
    ("0s", ("duration", 0)),
    ("163820us", ("duration", 163_820_000)),
    ("2501h3599254740993ns", ("duration", 2**53 + 1)),
    ("-2501h3599254740993ns", ("duration", -(2**53) - 1)),
    ("0 days 00:00:00.023000", ("duration", 23_000_000)),
    ("-1 days +23:59:59.999999999", ("duration", -1)),
    ("106751 days 23:47:16.854775807", ("duration", 2**63 - 1)),
    # times
    ("2026-03-04T05:06:07.123456", ("time", MOMENT)),
    ("2026-03-04T05:06:07.123456Z", ("time", MOMENT)),
    ("2026-03-04T06:06:07.123456+01:00", ("time", MOMENT)),
    ("2026-03-04T06:06:07.123456+0100", ("time", MOMENT)),
    ("2026-03-04 05:06:07.123456", ("time", MOMENT)),
    ("2026-03-04T05:06:07.123456001", ("time", MOMENT + 1)),
    ("1969-12-31T23:59:59.999999999", ("time", -1)),
    ("2026-03-04", ("time", 1_772_582_400 * SECOND)),
    # addresses and networks
    ("192.0.2.1", ("ip", V4 + bytes([192, 0, 2, 1]))),
    ("2001:db8::1", ("ip", b"\x20\x01\x0d\xb8" + bytes(11) + b"\1")),
    ("::", ("ip", bytes(16))),
    ("192.0.2.0/24", ("subnet", (V4 + bytes([192, 0, 2, 0]), 120))),
    ("2001:db8::/32", ("subnet", (b"\x20\x01\x0d\xb8" + bytes(12), 32))),
    # text
    ("tcp", ("string", "tcp")),
    ("1.2.3.4.5", ("string", "1.2.3.4.5")),
    ("007", ("string", "007")),
    ("C5iS5U1w0ybtWMdv7b", ("string", "C5iS5U1w0ybtWMdv7b")),
]


@pytest.mark.parametrize("text, leaf", PRINTED)
def test_printed_values_have_their_types(text, leaf):
    """What VAST, Tenzir and pandas print is read as what it was: alone, in lists, in CSV."""
    quoted = json.dumps(text)
    line = f'{{"#type":"my.log","x":{quoted},"l":[{quoted},null],"r":{{"x":{quoted}}}}}\n'
    row = {"x": leaf, "l": [leaf, None], "r.x": leaf}
    assert events(read_back(line.encode())) == {"my.log": [row]}
    table = f"#type,x,l,r.x\nmy.log,{text},{csv_cell([text, None])},{text}\n"
    assert events(read_back(table.encode())) == {"my.log": [row]}


def test_integers_and_doubles_are_exact():
    """The largest and smallest numbers, and doubles with all their digits, stay what they are."""
    numbers = {
        "integer": ([2**64 - 1, 0], [-(2**63), 2**63 - 1], [2**53 + 1, None]),
        "double": ([0.1 + 0.2, -0.0], [5e-324, 1.7976931348623157e308], [1e16, 1.0], [1e22, 0.5]),
    }
    for kind, columns in numbers.items():
        for column in columns:
            leaves = [
                v if v is None else (kind, repr(v) if kind == "double" else v) for v in column
            ]
            rows = [{"n": 1, "x": value} for value in column]
            wanted = [{"n": ("integer", 1)} | ({"x": leaf} if leaf else {}) for leaf in leaves]
            lines = "".join(json.dumps({"#type": "my.log", **row}) + "\n" for row in rows)
            assert events(read_back(lines.encode())) == {"my.log": wanted}
            texts = ("" if value is None else repr(value) for value in column)
            cells = "".join(f"my.log,1,{text}\n" for text in texts)
            assert events(read_back(f"#type,n,x\n{cells}".encode())) == {"my.log": wanted}


def test_csv_has_nan_and_infinity():
    """A column of doubles may have NaN and infinity in CSV."""
    data = b"#type,x\nmy.log,1.5\nmy.log,nan\nmy.log,inf\nmy.log,-inf\n"
    leaves = [("double", text) for text in ("1.5", "nan", "inf", "-inf")]
    assert events(read_back(data)) == {"my.log": [{"x": leaf} for leaf in leaves]}


def test_csv_keeps_words_that_vastlab_does_not_write_as_text():
    """A column of nothing but the words of other programs is text, also in a file of vastlab."""
    found = events(read_back(b"#type,x\nmy.log,NaN\nmy.log,Infinity\n"))
    assert found == {"my.log": [{"x": ("string", text)} for text in ("NaN", "Infinity")]}


def test_csv_tells_null_from_empty_text():
    """Nothing is null and two quotes are empty text, for which vastlab never writes a number."""
    data = b'#type,a,n,m\nmy.log,,1,1\nmy.log,"",2,""\nmy.log," x\n",,3\n'
    n, m = ("integer", 1), ("string", "1")
    assert events(read_back(data)) == {
        "my.log": [
            {"n": n, "m": m},
            {"a": ("string", ""), "n": ("integer", 2), "m": ("string", "")},
            {"a": ("string", " x\n"), "m": ("string", "3")},
        ]
    }


@pytest.mark.parametrize("format_", ["json", "csv"])
def test_shipped_schemas_come_back_whole(format_):
    """Events of Zeek and Suricata get back the types and aliases that vastlab ships."""
    batches = [batch for batch in demo.batches(1500) if not name_of(batch).startswith("demo.")]
    found = list(read_back(written(format_, batches)))
    assert events(found) == events(batches)
    for name in events(batches):
        before, after = (types_of(name, some) for some in (batches, found))
        assert {path: type_ for path, type_ in after.items() if path in before} == before


def name_of(batch: pa.RecordBatch) -> str:
    """Return the schema name of some events."""
    return arrow_schema.name_of(batch.schema)


def types_of(name: str, batches: Iterable[pa.RecordBatch]) -> dict[str, Type]:
    """Return the types of the leaves of a schema, without hints for an index."""
    schemas = (arrow_schema.from_arrow(b.schema) for b in batches if name_of(b) == name)
    leaves = (leaf for schema in schemas for leaf in schema.leaves)
    return {leaf.name: replace(leaf.type, attributes=()) for leaf in leaves}


def csv_cell(values: list[str | None]) -> str:
    """Return a list as a cell of CSV."""
    return '"' + json.dumps(values).replace('"', '""') + '"'


# --- Tenzir ---------------------------------------------------------------------------------

TENZIR = process.find_tenzir()
WRITERS = {"json": "write_json", "ndjson": "write_ndjson", "csv": "write_csv"}
WRITERS |= {"arrow": "write_feather", "parquet": "write_parquet"}
TENZIR_EVENTS = pa.table({
    "ts": pa.array([1, MOMENT, None], pa.timestamp("ns")),
    "n": pa.array([None, -5, 2**63 - 1], pa.int64()),
    "u": pa.array([2**64 - 1, None, 0], pa.uint64()),
    "d": pa.array([1.5, None, 0.1 + 0.2], pa.float64()),
    "wait": pa.array([163_820_000, None, 23_000_000], pa.duration("ns")),
    "s": pa.array(["a b", None, 'c,"d"\n'], pa.string()),
    "b": pa.array([True, None, False]),
    "l": pa.array([["x", "y"], [], None], pa.list_(pa.string())),
    "r": pa.array([{"a": 1, "b": {"c": "x"}}, {"a": None, "b": {"c": "y"}}, None]),
})  # fmt: skip


@pytest.mark.full
@pytest.mark.skipif(TENZIR is None, reason="the package tenzir is not installed")
@pytest.mark.parametrize("format_", WRITERS)
def test_tenzir_writes_what_is_read_as_the_same_events(tmp_path, format_):
    """Events that Tenzir reads from vastlab and writes again are the same events."""
    addresses = arrow_st.array(Type(Kind.IP), [V4 + bytes([192, 0, 2, 1]), None, bytes(16)])
    networks = arrow_st.array(Type(Kind.SUBNET), [(V4 + bytes(4), 96), None, (bytes(16), 64)])
    table = TENZIR_EVENTS.append_column("ip", addresses).append_column("net", networks)
    if format_ == "csv":
        # It joins lists with semicolons, rounds doubles, and does not quote as others do.
        table = table.drop_columns(["l", "d", "s"])
    (batch,) = table.replace_schema_metadata({"VAST:name:0": "my.log"}).to_batches()
    (tmp_path / "events.arrows").write_bytes(written("arrow", [batch]))
    query = f'from_file "{tmp_path}/events.arrows" {{ read_feather }}\n{WRITERS[format_]}'
    done = subprocess.run([TENZIR, query], capture_output=True, check=True)
    found = events(readers.read(io.BytesIO(done.stdout), schema="my.log"))
    assert found == events([batch])
