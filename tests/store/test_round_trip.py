"""What goes into a database comes out of it, whatever its type."""

from __future__ import annotations

import tempfile
from pathlib import Path

import hypothesis
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st

from vastlab.arrow import convert
from vastlab.arrow import schema as arrow_schema
from vastlab.arrow import types as arrow_arrays
from vastlab.arrow import types as arrow_types
from vastlab.readers import columns
from vastlab.store.database import Database
from vastlab.types import Field, Kind, Schema, Type

INT64 = st.integers(-(2**63), 2**63 - 1)
VALUES = {
    Kind.NULL: st.none(),
    Kind.BOOL: st.booleans(),
    Kind.INT64: INT64,
    Kind.UINT64: st.integers(0, 2**64 - 1),
    Kind.DOUBLE: st.floats(allow_nan=False),
    Kind.DURATION: INT64,
    Kind.TIME: INT64,
    Kind.STRING: st.text(st.characters(codec="utf-8"), max_size=90),
    Kind.BLOB: st.binary(max_size=5),
    Kind.IP: st.binary(min_size=16, max_size=16),
}
NAMES = st.sampled_from(["ts", "id", "a", "b", "a.b", "#import_time", "uid", "x:y", 'q"', "ü"])


@st.composite
def types(draw, depth=2):
    """Draw types of all kinds, nested up to `depth` levels deep."""
    leaves = [*VALUES, Kind.ENUM, Kind.SUBNET]
    kind = draw(
        st.sampled_from([*leaves, *([Kind.LIST, Kind.MAP, Kind.RECORD] * 3 if depth else [])])
    )
    names = draw(st.sampled_from([(), ("port",), ("outer", "inner")]))
    attributes = draw(st.sampled_from([(), (("index", "hash"),)]))
    match kind:
        case Kind.ENUM:
            return Type(kind, names, attributes, labels=(("tcp", 0), ("udp", 5), ("icmp", 2)))
        case Kind.LIST:
            return Type(kind, names, attributes, item=draw(types(depth=depth - 1)))
        case Kind.MAP:
            key = Type(draw(st.sampled_from([Kind.STRING, Kind.UINT64, Kind.IP])))
            return Type(kind, names, attributes, key=key, item=draw(types(depth=depth - 1)))
        case Kind.RECORD:
            return Type(kind, names, attributes, fields=draw(fields(depth=depth - 1)))
        case _:
            return Type(kind, names, attributes)


@st.composite
def fields(draw, depth=2):
    """Draw up to three fields with different names; also none at all."""
    members = draw(
        st.lists(st.tuples(NAMES, types(depth=depth)), max_size=3, unique_by=lambda m: m[0])
    )
    return tuple(Field(name, type_) for name, type_ in members)


@st.composite
def arrays(draw, type_, length):
    """Draw an array of a type in vastlab's own form, with nulls anywhere."""
    target = arrow_schema.type_to_arrow(type_)
    mask = pa.array(draw(st.lists(st.booleans(), min_size=length, max_size=length)), pa.bool_())
    match type_.kind:
        case Kind.RECORD if not type_.fields:
            return pa.array([None if null else {} for null in mask.to_pylist()], target)
        case Kind.RECORD:
            members = [draw(arrays(member.type, length)) for member in type_.fields]
            return pa.StructArray.from_arrays(members, fields=list(target), mask=mask)
        case Kind.LIST | Kind.MAP:
            lengths = draw(st.lists(st.integers(0, 2), min_size=length, max_size=length))
            offsets = [sum(lengths[:i]) for i in range(length + 1)]
            items = draw(arrays(type_.item, offsets[-1]))
            if type_.kind is Kind.LIST:
                whole = pa.array(offsets, pa.int32())
                return pa.ListArray.from_arrays(whole, items, type=target, mask=mask)
            nulls = [*mask.to_pylist(), False]
            marked = [None if null else o for o, null in zip(offsets, nulls, strict=True)]
            keys = draw(plain_arrays(type_.key, offsets[-1]))
            return pa.MapArray.from_arrays(pa.array(marked, pa.int32()), keys, items, type=target)
        case Kind.ENUM:
            indices = draw(
                st.lists(st.none() | st.integers(0, 2), min_size=length, max_size=length)
            )
            labels = pa.array([label for label, _ in type_.labels])
            encoded = pa.DictionaryArray.from_arrays(pa.array(indices, pa.uint8()), labels)
            return pa.ExtensionArray.from_storage(target, encoded)
        case Kind.SUBNET:
            address = draw(plain_arrays(Type(Kind.IP), length))
            sizes = draw(st.lists(st.integers(0, 128), min_size=length, max_size=length))
            inner = pa.StructArray.from_arrays(
                [address, pa.array(sizes, pa.uint8())], fields=list(target.storage_type), mask=mask
            )
            return pa.ExtensionArray.from_storage(target, inner)
        case _:
            return draw(plain_arrays(type_, length, nulls=True))


@st.composite
def plain_arrays(draw, type_, length, nulls=False):
    """Draw an array of a type without parts."""
    values = VALUES[type_.kind]
    values = st.none() | values if nulls else values
    drawn = draw(st.lists(values, min_size=length, max_size=length))
    target = arrow_schema.type_to_arrow(type_)
    if type_.kind is Kind.IP:
        return pa.ExtensionArray.from_storage(arrow_types.IP, pa.array(drawn, pa.binary(16)))
    return pa.array(drawn, target)


@st.composite
def batches(draw):
    """Draw a batch of events of a random schema, sometimes a slice of a longer one."""
    schema = Schema(draw(st.sampled_from(["zeek.conn", "CON", "../x", "a:b"])), draw(fields()))
    length = draw(st.integers(1, 5))
    start = draw(st.integers(0, length - 1))
    columns_ = [draw(arrays(member.type, length)) for member in schema.fields]
    batch = arrow_arrays.record_batch(columns_, arrow_schema.to_arrow(schema), length)
    return batch.slice(start)


def expected(batch):
    """Return the events as a database gives them back: null records are records of nulls."""
    schema = arrow_schema.from_arrow(batch.schema)
    flat = convert.nest(convert.flatten(batch), schema)
    return rows(flat)


def rows(batch):
    """Return events as text that does not depend on the order of rows."""
    return (
        sorted(map(repr, pa.Table.from_batches([batch]).to_pylist()))
        if batch.num_columns
        else batch.num_rows
    )


@hypothesis.given(batch=batches())
def test_events_come_back_as_they_went_in(batch):
    """Events of every type are read back equal by plain pyarrow, schema and metadata included."""
    with tempfile.TemporaryDirectory() as folder:
        database = Database.create(folder)
        added = database.add([batch])
        snapshot = database.snapshot()
        (file,), (layout,) = snapshot.files, snapshot.layouts.values()
        with pq.ParquetFile(file.path) as parquet:
            table = parquet.read()
            notes = dict(table.schema.metadata or {})
            note = notes.pop(columns.SCHEMA_KEY.encode())
            table = table.replace_schema_metadata(notes)
        assert table.schema.equals(layout.stored_schema, check_metadata=True)
        assert columns.decode_schema(note.decode()) == layout.schema
        assert added == snapshot.counts == {arrow_schema.name_of(batch.schema): batch.num_rows}
        (stored,) = table.combine_chunks().to_batches()
        events = layout.events(stored)
        assert events.schema.equals(batch.schema, check_metadata=True)
        events.validate(full=True)
        assert rows(events) == expected(batch)


@hypothesis.given(batch=batches())
def test_storing_and_restoring_are_inverse(batch):
    """Turning events into rows of a file and back loses nothing but null records."""
    schema = arrow_schema.from_arrow(batch.schema)
    stored = columns.store(batch, schema, columns.stored_schema(schema), import_time=7)
    stored.validate(full=True)
    assert stored.column("#import_time").cast(pa.int64()).to_pylist() == [7] * batch.num_rows
    assert rows(columns.restore(stored, schema)) == expected(batch)


@hypothesis.settings(max_examples=25)
@hypothesis.given(batch=batches())
def test_paths_are_safe_everywhere(batch):
    """No file of a database has a name that Windows refuses or that leaves the folder."""
    with tempfile.TemporaryDirectory() as folder:
        database = Database.create(folder)
        database.add([batch])
        for path in Path(folder).rglob("*"):
            relative = path.relative_to(folder)
            assert not set(':<>"|?*\\') & set(str(relative))
            assert ".." not in relative.parts
