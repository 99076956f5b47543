"""Batches as anyone writes them, and the same in vastlab's own form."""

from __future__ import annotations

import datetime
import decimal
import ipaddress
import json
import pickle
import subprocess
import sys
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import arrow_strategies as arrow_st
from vastlab.arrow import convert
from vastlab.arrow import schema as arrow_schema
from vastlab.arrow import types as arrow_arrays
from vastlab.arrow import types as arrow_types
from vastlab.errors import FormatError
from vastlab.types import Field, Kind, Schema, Type

FAMILIES: dict[str, dict[Kind, type]] = {
    "VAST": {
        Kind.IP: arrow_types.IPType,
        Kind.SUBNET: arrow_types.SubnetType,
        Kind.ENUM: arrow_types.EnumerationType,
    },
    "TENZIR": {
        Kind.IP: arrow_types.TenzirIPType,
        Kind.SUBNET: arrow_types.TenzirSubnetType,
        Kind.ENUM: arrow_types.TenzirEnumerationType,
    },
}


@dataclass
class Disguise:
    """Writes a column as another library would: same meaning, other Arrow types."""

    _draw: Callable[[st.SearchStrategy[Any]], Any]
    _family: str
    _registered: bool

    def batch(self, schema: Schema, batch: pa.RecordBatch) -> pa.RecordBatch:
        pairs = [self.field(m, batch.column(i)) for i, m in enumerate(schema.fields)]
        fields, arrays = [f for f, _ in pairs], [a for _, a in pairs]
        metadata = self._metadata((schema.name,), schema.attributes)
        return arrow_arrays.record_batch(arrays, pa.schema(fields, metadata), batch.num_rows)

    def field(self, member: Field, array: pa.Array) -> tuple[pa.Field, pa.Array]:
        type_, extra = member.type, {}
        if type_.kind in FAMILIES[self._family]:
            array, extra = self._extension(type_, arrow_arrays.storage_of(array))
        else:
            array = self._plain(type_, array)
        metadata = {**self._metadata(type_.names, type_.attributes), **extra}
        strict = array.null_count == 0 and type_.kind is not Kind.NULL
        nullable = not (strict and self._draw(st.booleans()))
        return pa.field(member.name, array.type, nullable, metadata or None), array

    def _metadata(
        self, names: tuple[str, ...], attributes: tuple[tuple[str, str], ...]
    ) -> dict[str, str]:
        pairs = {f"{self._family}:name:{level}": name for level, name in enumerate(names)}
        if attributes:
            pairs[f"{self._family}:attributes:0"] = json.dumps(dict(attributes))
        return pairs

    def _extension(self, type_: Type, storage: pa.Array) -> tuple[pa.Array, dict[str, str]]:
        classes = FAMILIES[self._family]
        own = classes[type_.kind]
        match type_.kind:
            case Kind.IP:
                own = own()
            case Kind.SUBNET:
                own = own(classes[Kind.IP]())
                if self._registered:
                    storage = self._subnets(storage, list(own.storage_type))
            case _:
                own = own(type_.labels)
        if self._registered:
            return pa.ExtensionArray.from_storage(own, storage), {}
        if type_.kind is Kind.SUBNET:
            _, address = self._extension(Type(Kind.IP), storage.field(0).storage)
            plain = pa.field("address", pa.binary(16), metadata=address)
            storage = self._subnets(storage, [plain, pa.field("length", pa.uint8())])
        serialized = own.__arrow_ext_serialize__().decode()
        return storage, {"ARROW:extension:name": own.NAME, "ARROW:extension:metadata": serialized}

    def _subnets(self, storage: pa.StructArray, fields: list[pa.Field]) -> pa.StructArray:
        plain = storage.field(0).storage
        if isinstance(fields[0].type, pa.ExtensionType):
            plain = pa.ExtensionArray.from_storage(fields[0].type, plain)
        children = [plain, storage.field(1)]
        return pa.StructArray.from_arrays(children, fields=fields, mask=storage.is_null())

    def _plain(self, type_: Type, array: pa.Array) -> pa.Array:
        match type_.kind:
            case Kind.STRING:
                text = [pa.string(), pa.large_string(), pa.string_view()]
                array = array.cast(self._draw(st.sampled_from(text)))
                return array.dictionary_encode() if self._draw(st.booleans()) else array
            case Kind.BLOB:
                return array.cast(self._draw(st.sampled_from([pa.binary(), pa.large_binary()])))
            case Kind.TIME:
                zone = self._draw(st.sampled_from([None, "UTC", "Europe/Berlin"]))
                return array.cast(pa.timestamp("ns", zone))
            case Kind.RECORD if type_.fields:
                pairs = [self.field(m, array.field(i)) for i, m in enumerate(type_.fields)]
                fields, arrays = [f for f, _ in pairs], [a for _, a in pairs]
                return pa.StructArray.from_arrays(arrays, fields=fields, mask=array.is_null())
            case Kind.LIST:
                offsets, (values,) = arrow_arrays.list_parts(array)
                item, values = self.field(Field("element", type_.item), values)
                layout = self._draw(st.sampled_from(["plain", "large", "view"]))
                if layout == "large":
                    large, as_type = offsets.cast(pa.int64()), pa.large_list(item)
                    return pa.LargeListArray.from_arrays(
                        large, values, type=as_type, mask=array.is_null()
                    )
                if layout == "view":
                    sizes = pa.compute.list_value_length(array).fill_null(0)
                    return pa.ListViewArray.from_arrays(
                        offsets[:-1], sizes, values, type=pa.list_view(item), mask=array.is_null()
                    )
                return pa.ListArray.from_arrays(
                    offsets, values, type=pa.list_(item), mask=array.is_null()
                )
            case Kind.MAP:
                offsets, (keys, values) = arrow_arrays.list_parts(array)
                key, keys = self.field(Field("key", type_.key), keys)
                item, values = self.field(Field("item", type_.item), values)
                as_type = pa.map_(key.with_nullable(False), item)
                return pa.MapArray.from_arrays(
                    offsets, keys, values, type=as_type, mask=array.is_null()
                )
            case _:
                return array


@st.composite
def disguised(draw: st.DrawFn) -> tuple[pa.RecordBatch, pa.RecordBatch]:
    schema, batch = draw(arrow_st.tables())
    family, registered = draw(st.sampled_from(sorted(FAMILIES))), draw(st.booleans())
    return batch, Disguise(draw, family, registered).batch(schema, batch)


@given(disguised())
def test_any_form_is_normalised(pair):
    """Whichever program wrote a batch, `normalise` gives the same types and values."""
    own, foreign = pair
    foreign.validate(full=True)
    normal = convert.normalise(foreign)
    normal.validate(full=True)
    assert arrow_st.same(normal, own)


@given(disguised(), st.data())
def test_slices_normalise_like_the_whole(pair, data):
    """A slice of a batch normalises to the slice of the normal batch."""
    own, foreign = pair
    start = data.draw(st.integers(0, own.num_rows))
    assert arrow_st.same(convert.normalise(foreign.slice(start, 3)), own.slice(start, 3))


@given(arrow_st.tables())
def test_normal_batches_are_not_copied(pair):
    """A batch in vastlab's own form comes back as it is, unless it must be looked into."""
    schema, batch = pair
    normal = convert.normalise(batch)
    assert arrow_st.same(normal, batch)
    if not any(arrow_schema.has_subnet(member.type) for member in schema.fields):
        assert normal is batch


@given(arrow_st.tables(min_fields=1))
def test_batches_can_be_pickled(pair):
    """Batches and schemas pass through pickle with their types."""
    _, batch = pair
    assert arrow_st.same(pickle.loads(pickle.dumps(batch)), batch)  # noqa: S301 - our own bytes


@pytest.mark.parametrize(
    "length, normal", [(0, 96), (8, 104), (32, 128), (33, 33), (95, 95), (96, 96), (128, 128)]
)
def test_lengths_of_v4_networks_count_in_128_bits(length, normal):
    """Both conventions for IPv4 networks become one; what fits neither stays as it is."""
    address = arrow_st.V4_MAPPED + bytes(4)
    type_ = Type(Kind.LIST, item=Type(Kind.SUBNET))
    array = arrow_st.array(type_, [[(address, length), None], None])
    batch = pa.RecordBatch.from_arrays([array], names=["n"])
    (row, _) = arrow_st.plain(convert.normalise(batch).column(0)).to_pylist()
    assert row == [{"address": address, "length": normal}, None]


def test_lengths_of_v6_networks_stay():
    """A short IPv6 network is not mistaken for IPv4."""
    array = arrow_st.array(Type(Kind.SUBNET), [(b"\x20" + bytes(15), 8)])
    normal = convert.normalise(pa.RecordBatch.from_arrays([array], names=["n"]))
    assert normal.column(0).to_pylist() == [ipaddress.ip_network("2000::/8")]


def test_labels_outside_the_definition_are_an_error():
    """A value that is not a label is an error, not null."""
    field = pa.field(
        "e",
        pa.string(),
        metadata={
            "ARROW:extension:name": "tenzir.enumeration",
            "ARROW:extension:metadata": '{"red": 7, "blue": 2}',
        },
    )
    good = pa.RecordBatch.from_arrays([pa.array(["blue", None])], schema=pa.schema([field]))
    normal = convert.normalise(good)
    assert normal.column(0).storage.indices.to_pylist() == [1, None]
    assert arrow_schema.from_arrow(normal.schema).fields[0].type.labels == (("red", 7), ("blue", 2))
    bad = pa.RecordBatch.from_arrays([pa.array(["red", "green"])], schema=pa.schema([field]))
    with pytest.raises(FormatError, match=r"'e'.*'green'"):
        convert.normalise(bad)


@pytest.mark.parametrize("name", sorted(arrow_types.EXTENSION_NAMES))
def test_a_name_over_another_shape_is_plain(name):
    """A column that only claims an extension type is read by its values."""
    field = pa.field("x", pa.int64(), metadata={"ARROW:extension:name": name})
    batch = pa.RecordBatch.from_arrays([pa.array([1])], schema=pa.schema([field]))
    schema = arrow_schema.from_arrow(convert.normalise(batch).schema)
    assert schema.fields[0].type.kind is Kind.INT64


@pytest.mark.parametrize(
    "array, expected",
    [
        (pa.array([1, None], pa.int8()), [1, None]),
        (pa.array([1, None], pa.uint16()), [1, None]),
        (pa.array([1.5, None], pa.float32()), [1.5, None]),
        (pa.array([1.5], pa.float16()), [1.5]),
        (pa.array([decimal.Decimal("1.5")]), [1.5]),
        (pa.array([datetime.date(1970, 1, 2)]), [86400 * 10**9]),
        (pa.array([1, 2], pa.time64("us")), [1000, 2000]),
        (pa.array([1, None], pa.time32("s")), [10**9, None]),
        (pa.array([1], pa.duration("ms")), [10**6]),
        (pa.array([1], pa.timestamp("s", "Asia/Tokyo")), [10**9]),
        (pa.array([1, 1, None]).dictionary_encode(), [1, 1, None]),
        (pa.compute.run_end_encode(pa.array(["a", "a", None])), ["a", "a", None]),
        (pa.array([b"abcd"], pa.binary(4)), [b"abcd"]),
        (pa.array([b"abcd"], pa.binary_view()), [b"abcd"]),
        (pa.array([[1, 2], None], pa.list_(pa.int32(), 2)), [[1, 2], None]),
        (pa.array([[1], [2], None], pa.list_(pa.int32(), 1)).slice(1), [[2], None]),
        (pa.array([[1], [2, 3], None], pa.large_list(pa.int32())).slice(1), [[2, 3], None]),
        (pa.array([[1], [2, 3], None], pa.list_view(pa.int32())).slice(1), [[2, 3], None]),
        (
            pa.ListViewArray.from_arrays(pa.array([1, 0]), pa.array([2, 2]), pa.array([7, 8, 9])),
            [[8, 9], [7, 8]],
        ),
        (pa.array([[1], None, []], pa.list_view(pa.int32())), [[1], None, []]),
        (pa.array([[1], None, []], pa.large_list_view(pa.int32())), [[1], None, []]),
        (pa.array([b"0123456789abcdef"], pa.uuid()), [b"0123456789abcdef"]),
        (pa.array([], pa.list_(pa.int32())), []),
        (pa.array([None, None]), [None, None]),
    ],
)
def test_foreign_types_become_the_nearest(array, expected):
    """Types that VAST lacks become the nearest that it has, with the same values."""
    batch = pa.RecordBatch.from_arrays([array], names=["x"])
    normal = convert.normalise(batch)
    column = normal.column(0)
    if pa.types.is_timestamp(column.type) or pa.types.is_duration(column.type):
        column = column.cast(pa.int64())
    assert column.to_pylist() == expected
    assert convert.normalise(normal) is normal


@given(arrow_st.types())
def test_nulls_become_any_type(type_):
    """A column without any value takes each type; the labels of an enumeration are kept."""
    nulls = convert.convert(pa.nulls(2), pa.field("x", pa.null()), type_)
    assert nulls.type.equals(arrow_schema.type_to_arrow(type_), check_metadata=True)
    assert nulls.null_count == (2 if type_.kind is not Kind.NULL else nulls.null_count)
    nulls.validate(full=True)


def test_extension_classes_of_other_libraries():
    """An extension array of a stranger's class is known by its name and its parameters."""

    class Stranger(pa.ExtensionType):
        def __arrow_ext_serialize__(self) -> bytes:
            return b'{ "red": 7 }'

    storage = pa.DictionaryArray.from_arrays(pa.array([0, None], pa.uint8()), pa.array(["red"]))
    stranger = Stranger(storage.type, "tenzir.enumeration")
    array = pa.ExtensionArray.from_storage(stranger, storage)
    normal = convert.normalise(pa.RecordBatch.from_arrays([array], names=["e"]))
    assert normal.schema.field("e").type == arrow_types.EnumerationType((("red", 7),))
    assert normal.column(0).to_pylist() == ["red", None]


def test_records_without_fields_are_kept():
    """A record without fields keeps its nulls when other columns are converted."""
    record = pa.array([{}, None], pa.struct([]))
    field = pa.field("r", record.type, metadata={"TENZIR:name:0": "nothing"})
    small = pa.array([1, 2], pa.int8())
    schema = pa.schema([field, pa.field("n", small.type)])
    outer = pa.StructArray.from_arrays([record, small], fields=list(schema))
    normal = convert.normalise(pa.RecordBatch.from_arrays([outer], names=["o"]))
    assert [row["o"]["r"] for row in normal.to_pylist()] == [{}, None]

    class Stranger(pa.ExtensionType):
        def __arrow_ext_serialize__(self) -> bytes:
            return b""

    strange = pa.ExtensionArray.from_storage(Stranger(record.type, "a.b"), record)
    normal = convert.normalise(pa.RecordBatch.from_arrays([strange], names=["r"]))
    assert normal.column(0).equals(record)


def test_dictionaries_of_addresses_are_opened():
    """A dictionary-encoded extension column is the extension column."""
    addresses = arrow_st.array(Type(Kind.IP), [bytes(16), b"\xff" * 16])
    encoded = pa.DictionaryArray.from_arrays(pa.array([1, 0, None], pa.int8()), addresses)
    normal = convert.normalise(pa.RecordBatch.from_arrays([encoded], names=["a"]))
    assert normal.schema.field("a").type == arrow_types.IP
    assert normal.column(0).storage.to_pylist() == [b"\xff" * 16, bytes(16), None]


def test_conversion_error_names_the_column():
    """A time beyond nanoseconds is an error that names the column, not another time."""
    batch = pa.RecordBatch.from_pydict({"far": pa.array([2**40], pa.timestamp("s"))})
    with pytest.raises(FormatError, match="the column 'far' cannot be converted to time"):
        convert.normalise(batch)


def test_batches_without_columns_keep_their_length():
    """Events without any field are still events."""
    schema = pa.schema([], {"VAST:name:0": "empty"})
    for rows in (0, 3):
        batch = arrow_arrays.record_batch([], schema, rows)
        assert (batch.num_rows, arrow_schema.name_of(batch.schema)) == (rows, "empty")
        assert convert.flatten(convert.normalise(batch)).num_rows == rows


def test_names_can_be_given():
    """The name argument replaces the metadata, which is optional."""
    batch = pa.RecordBatch.from_pydict({"x": [1]})
    assert arrow_schema.name_of(convert.normalise(batch).schema) == ""
    assert arrow_schema.name_of(convert.normalise(batch, "my.log").schema) == "my.log"


FOREIGN = """
    import json, sys
    import pyarrow as pa

    class Stranger(pa.ExtensionType):
        def __init__(self, storage, name, parameters=b""):
            self.parameters = parameters
            super().__init__(storage, name)
        def __arrow_ext_serialize__(self):
            return self.parameters or self.extension_name.encode()

    def stranger(name, storage):
        class Own(Stranger):
            @classmethod
            def __arrow_ext_deserialize__(cls, storage, serialized):
                return cls(storage, name, serialized)
        type_ = Own(storage, name)
        pa.register_extension_type(type_)
        return type_

    enum = pa.dictionary(pa.uint8(), pa.string())
    for ip, net, label in (
        ("vast.address", "vast.subnet", "vast.enumeration"),
        ("tenzir.ip", "tenzir.subnet", "tenzir.enumeration"),
    ):
        inner = stranger(ip, pa.binary(16))
        stranger(net, pa.struct([("address", inner), ("length", pa.uint8())]))
        stranger(label, enum)

    from vastlab.arrow import convert, schema, types
    types.register()
    with pa.ipc.open_stream(sys.argv[1]) as reader:
        for batch in reader:
            assert "Own" in repr(batch.schema.field("a").type), batch.schema
            normal = convert.normalise(batch)
            print(repr(schema.from_arrow(normal.schema).fields))
            print(normal.to_pylist())
"""


@pytest.mark.parametrize("family", ["VAST", "TENZIR"])
def test_names_registered_by_another_library(tmp_path: Path, family):
    """Where another library owns the extension names, batches still become our own."""
    labels = (("red", 0), ("blue", 5))
    fields = (
        Field("a", Type(Kind.IP)),
        Field("n", Type(Kind.LIST, item=Type(Kind.SUBNET))),
        Field("r", Type(Kind.RECORD, fields=(Field("e", Type(Kind.ENUM, labels=labels)),))),
    )
    schema = Schema("zeek.conn", fields)
    network = (arrow_st.V4_MAPPED + b"\x0a\0\0\0", 104)
    columns = [
        arrow_st.array(fields[0].type, [bytes(16), None]),
        arrow_st.array(fields[1].type, [[network, None], None]),
        arrow_st.array(fields[2].type, [("blue",), None]),
    ]
    batch = arrow_arrays.record_batch(columns, arrow_schema.to_arrow(schema), 2)
    path = tmp_path / "events.arrows"
    _write_as(path, batch, family)
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(FOREIGN), str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [repr(schema.fields), str(batch.to_pylist())]


def _write_as(path: Path, batch: pa.RecordBatch, family: str) -> None:
    schema = arrow_schema.from_arrow(batch.schema)
    foreign = Disguise(lambda strategy: False, family, True).batch(schema, batch)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, foreign.schema) as writer:
        writer.write_batch(foreign)
