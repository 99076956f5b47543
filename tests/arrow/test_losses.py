"""Values that do not fit: null in the answer, and noted with their field and their rows."""

from __future__ import annotations

import decimal

import numpy as np
import pyarrow as pa
import pytest

from vastlab.arrow import schema as arrow_schema
from vastlab.arrow import types as arrow_types
from vastlab.arrow.convert import LossCollector, normalise
from vastlab.arrow.ipc import check
from vastlab.errors import FormatError
from vastlab.types import Kind

FAR = 2**60
V4 = b"\0" * 10 + b"\xff\xff\x0a\0\0\1"
TIMES = "times outside of 1677 to 2262 became null"
UTF8 = r"strings that are not UTF-8 became escaped, such as \xff"


def counts(type_: pa.DataType, *values: int | None) -> pa.Array:
    """Make a column of a type whose values are integers, sound or not."""
    return pa.array(values, pa.int32() if type_.bit_width == 32 else pa.int64()).view(type_)


def taken(array: pa.Array) -> tuple[pa.Array, list[tuple[str, str, list[int]]]]:
    """Bring a column into vastlab's own form, as an import does."""
    losses = LossCollector()
    batch = check(pa.RecordBatch.from_arrays([array], names=["x"]), losses)
    batch = normalise(batch, None, losses)
    batch.validate(full=True)
    return batch.column(0), [(each.field, each.reason, each.rows.tolist()) for each in losses.found]


def plain(array: pa.Array) -> list[object]:
    """Return values that compare: integers for times."""
    return (array.cast(pa.int64()) if pa.types.is_temporal(array.type) else array).to_pylist()


SECONDS = [
    (pa.timestamp("s"), 10**9, TIMES),
    (pa.timestamp("ms"), 10**6, TIMES),
    (pa.timestamp("us", "Europe/Berlin"), 10**3, TIMES),
    (pa.date64(), 10**6, TIMES),
    (pa.duration("s"), 10**9, "durations longer than 292 years became null"),
]


@pytest.mark.parametrize("type_, unit, reason", SECONDS)
def test_times_beyond_nanoseconds_become_null(type_, unit, reason):
    """A time that 64-bit nanoseconds cannot hold is null and noted; the others are exact."""
    last = (2**63 - 1) // unit
    array = counts(type_, FAR * 4, last, None, -last, last + 1, -last - 1)
    column, losses = taken(array)
    assert plain(column) == [None, last * unit, None, -last * unit, None, None]
    assert losses == [("x", reason, [0, 4, 5])]
    assert plain(taken(array.slice(1, 3))[0]) == [last * unit, None, -last * unit]


def test_dates_are_times():
    """A date is its midnight; one outside of what nanoseconds hold is null."""
    column, losses = taken(counts(pa.date32(), 2**31 - 1, 1, -(2**31)))
    assert plain(column) == [None, 86_400 * 10**9, None]
    assert losses == [("x", TIMES, [0, 2])]


@pytest.mark.parametrize("type_", [pa.time32("s"), pa.time32("ms"), pa.time64("us")])
def test_times_outside_of_a_day_become_null(type_):
    """A clock that shows what no clock shows is null and noted."""
    column, losses = taken(counts(type_, 2**31 - 1 if type_.bit_width == 32 else FAR, 5, None, -1))
    assert column.is_valid().to_pylist() == [False, True, False, False]
    assert losses == [("x", "times outside of a day became null", [0, 3])]


def test_numbers_that_a_double_rounds_are_noted():
    """A decimal of more digits than a double holds is rounded, and this is reported."""
    digits = [decimal.Decimal(12345678901234567890), decimal.Decimal(5), None]
    column, losses = taken(pa.array(digits, pa.decimal128(38, 0)))
    assert column.to_pylist() == [1.2345678901234567e19, 5.0, None]
    assert losses == [("x", "numbers with more digits than a double has became rounded", [0])]
    assert taken(pa.array([decimal.Decimal("0.1")], pa.decimal128(18, 3)))[1] == []
    assert taken(pa.array([decimal.Decimal("0.1")], pa.decimal128(10, 3)))[1] == []
    wide = pa.array([decimal.Decimal(10**75 + 1)], pa.decimal256(76, 0))
    wider = pa.Array.from_buffers(pa.decimal256(76, -10), 1, wide.buffers())
    for array in (wide, wider):
        assert len(taken(array)[1]) == 1


@pytest.mark.parametrize("number", [10**38 - 1, -(10**38), 2**127 - 1])
def test_decimals_of_too_many_digits_become_null(number):
    """A decimal above its own type's limit, which only damage writes, is null and noted."""
    data = (number % 2**128).to_bytes(16, "little") + (5).to_bytes(16, "little") + bytes(16)
    valid = pa.py_buffer(b"\x03")
    array = pa.Array.from_buffers(pa.decimal128(5, 2), 3, [valid, pa.py_buffer(data)])
    column, losses = taken(array)
    assert column.to_pylist() == [None, 0.05, None]
    assert losses == [("x", "numbers with more digits than their type allows became null", [0])]


def test_values_inside_are_noted_by_their_events():
    """In records, lists, maps and dictionaries, the row is that of the event."""
    far = counts(pa.timestamp("s"), FAR, 1, FAR)
    offsets = pa.array([0, 1, 3, 3], pa.int32())
    mask = pa.array([False, False, True])
    lists = pa.ListArray.from_arrays(offsets, far, mask=mask)
    assert taken(lists)[1] == [("x", TIMES, [0, 1])]
    assert taken(lists.slice(1))[1] == [("x", TIMES, [0])]
    assert taken(pa.StructArray.from_arrays([lists], ["times"]))[1] == [("x.times", TIMES, [0, 1])]
    maps = pa.MapArray.from_arrays(pa.array([0, 2, 3], pa.int32()), pa.array([1, 2, 3]), far)
    assert taken(maps)[1] == [("x.value", TIMES, [0, 1])]
    runs = pa.RunEndEncodedArray.from_arrays(pa.array([1, 2, 4], pa.int32()), far)
    assert taken(runs)[1] == [("x", TIMES, [0, 2, 3])]
    encoded = pa.DictionaryArray.from_arrays(pa.array([1, 0, None, 0]), far)
    assert taken(encoded)[1] == [("x", TIMES, [1, 3])]
    views = pa.ListViewArray.from_arrays(
        pa.array([1, 0, 0], pa.int32()), pa.array([1, 1, 2], pa.int32()), far
    )
    assert taken(views)[1] == [("x", TIMES, [1, 2])]
    hidden = pa.ListArray.from_arrays(
        pa.array([0, 1, 3], pa.int32()), far, mask=pa.array([True, False])
    )
    assert taken(hidden)[1] == [("x", TIMES, [1])]


def test_a_pair_whose_key_does_not_fit_is_left_out():
    """A map has no key that is null; its other pairs stay."""
    keys = counts(pa.timestamp("s"), FAR, 1)
    array = pa.MapArray.from_arrays(pa.array([0, 2], pa.int32()), keys, pa.array(["a", "b"]))
    column, losses = taken(array)
    assert [value for [(_, value)] in column.to_pylist()] == ["b"]
    assert losses == [("x.key", TIMES, [0])]


def extension(name: str, storage: pa.Array, labels: str = "") -> pa.RecordBatch:
    """Make a batch with a column that only its metadata call an extension type."""
    metadata = {"ARROW:extension:name": name, "ARROW:extension:metadata": labels}
    field = pa.field("x", storage.type, metadata=metadata)
    return pa.RecordBatch.from_arrays([storage], schema=pa.schema([field]))


def normal(batch: pa.RecordBatch) -> tuple[pa.Array, list[tuple[str, str, list[int]]]]:
    """Bring a batch of one column into vastlab's own form."""
    losses = LossCollector()
    column = normalise(batch, None, losses).column(0)
    column.validate(full=True)
    return column, [(each.field, each.reason, each.rows.tolist()) for each in losses.found]


@pytest.mark.parametrize("type_", [pa.binary(), pa.large_binary(), pa.binary_view()])
def test_addresses_of_another_length_become_null(type_):
    """An address has 16 bytes; what has not is null and noted."""
    column, losses = normal(extension("vast.address", pa.array([V4, b"abc", None], type_)))
    assert column.type == arrow_types.IP
    assert column.storage.to_pylist() == [V4, None, None]
    assert losses == [("x", "addresses that are not 16 bytes long became null", [1])]


def test_networks_of_impossible_lengths_become_null():
    """No prefix is longer than an address, or negative."""
    parts = [pa.array([V4] * 4 + [None], pa.binary(16)), pa.array([104, 300, -1, None, 8])]
    storage = pa.StructArray.from_arrays(parts, ["address", "length"])
    column, losses = normal(extension("vast.subnet", storage))
    assert column.type == arrow_types.SUBNET
    assert column.is_valid().to_pylist() == [True, False, False, True, True]
    assert str(column[0].as_py()) == "10.0.0.0/8"
    assert losses == [("x", "networks with a length outside of 0 to 128 became null", [1, 2])]


def test_values_that_are_not_labels_become_null():
    """An enumeration holds its labels only; another value is named once."""
    texts = pa.array(["red", "green", None, "blue"])
    column, losses = normal(extension("vast.enumeration", texts, '{"red": 1}'))
    assert column.storage.to_pylist() == ["red", None, None, None]
    assert losses == [("x", "values that are not a label, such as 'green', became null", [1, 3])]


def test_enumerations_of_too_many_labels_are_text():
    """The places of labels are bytes: with more than 256, the values are what they say."""
    labels = "{" + ", ".join(f'"l{i}": {i}' for i in range(257)) + "}"
    column, losses = normal(extension("vast.enumeration", pa.array(["l256", None]), labels))
    assert (column.type, column.to_pylist(), losses) == (pa.string(), ["l256", None], [])


def wrong(kind: str = "string") -> pa.Array:
    """Make text of which the first is not UTF-8."""
    types = {"string": pa.binary(), "large_string": pa.large_binary(), "view": pa.binary_view()}
    texts = {"string": pa.string(), "large_string": pa.large_string(), "view": pa.string_view()}
    return pa.array([b"not \xff so short", b"ok", None], types[kind]).view(texts[kind])


@pytest.mark.parametrize(
    "array, rows",
    [
        (wrong(), [0]),
        (wrong("large_string"), [0]),
        (wrong("view"), [0]),
        (pa.StructArray.from_arrays([wrong()], ["s"]), [0]),
        (pa.ListArray.from_arrays(pa.array([0, 0, 3], pa.int32()), wrong()), [1]),
        (pa.LargeListArray.from_arrays(pa.array([0, 3], pa.int64()), wrong()), [0]),
        (pa.FixedSizeListArray.from_arrays(wrong(), 3), [0]),
        (
            pa.MapArray.from_arrays(
                pa.array([0, 2], pa.int32()), wrong().slice(0, 2), pa.array([1, 2])
            ),
            [0],
        ),
        (pa.DictionaryArray.from_arrays(pa.array([1, 0, 0]), wrong()), [1, 2]),
    ],
)
def test_text_that_is_not_utf8_is_escaped_and_noted(array, rows):
    """Wrong bytes stay readable, at any depth, and are noted."""
    _, losses = taken(array)
    assert [(reason, found) for _, reason, found in losses] == [(UTF8, rows)]


def test_a_date_inside_a_record_may_show_any_time():
    """A date in milliseconds that is not midnight keeps its time."""
    dates = counts(pa.date64(), 5)
    array = pa.StructArray.from_arrays([dates, pa.array([1])], ["d", "n"])
    lists = pa.ListArray.from_arrays(pa.array([0, 1], pa.int32()), array)
    column, losses = taken(lists)
    assert column.flatten().field(0).cast(pa.int64()).to_pylist() == [5_000_000]
    assert losses == []


def test_losses_without_collector_are_an_error():
    """Without a collector, the first loss is an error."""
    batch = pa.RecordBatch.from_pydict({"t": counts(pa.time32("s"), -1)})
    with pytest.raises(FormatError, match="the events are damaged"):
        check(batch)
    far = pa.StructArray.from_arrays([counts(pa.timestamp("s"), FAR)], ["far"])
    with pytest.raises(
        FormatError, match=r"the column 'x' cannot be converted.*in 'far', times outside"
    ):
        normalise(pa.RecordBatch.from_arrays([far], names=["x"]))


@pytest.mark.parametrize(
    "array, texts",
    [
        (
            pa.UnionArray.from_sparse(
                pa.array([0, 1, 0], pa.int8()), [pa.array([1, 2, None]), pa.array(["a", "b", "c"])]
            ),
            ["1", "b", None],
        ),
        (pa.array([pa.scalar((1, 2, 3), pa.month_day_nano_interval())]), ["[1, 2, 3]"]),
    ],
)
def test_types_that_vast_lacks_become_text(array, texts):
    """A union and an interval of months have no likeness: their values are written out."""
    column, losses = taken(array)
    assert (column.type, column.to_pylist(), losses) == (pa.string(), texts, [])


def test_names_hold_no_nul():
    """NUL, which ends a name in Arrow's C interface, is escaped at any depth."""
    array = pa.StructArray.from_arrays([pa.array([1])], ["a\0b"])
    batch = pa.RecordBatch.from_arrays([array], names=["\0"])
    schema = arrow_schema.from_arrow(normalise(batch, "x\0y").schema)
    assert (schema.name, schema.leaves[0].name) == (r"x\x00y", r"\x00.a\x00b")


def test_a_given_name_joins_the_metadata_of_its_family():
    """A name that is given replaces the old one, and Tenzir's attributes stay what they are."""
    own = pa.RecordBatch.from_pydict({"a": [1]})
    assert arrow_schema.name_of(arrow_schema.named(own, None, "file").schema) == "file"
    metadata = {"TENZIR:name:0": "old", "TENZIR:attributes:0": '{"k": "v"}'}
    batch = own.replace_schema_metadata(metadata)
    assert arrow_schema.named(batch, None, "file") is batch
    found = arrow_schema.from_arrow(arrow_schema.named(batch, "new", "file").schema)
    assert (found.name, found.attributes) == ("new", (("k", "v"),))


def test_damaged_columns_next_to_strings_are_an_error():
    """What no repair can reach is refused: text inside a view of lists."""
    views = pa.ListViewArray.from_arrays(
        pa.array([0], pa.int32()), pa.array([1], pa.int32()), wrong()
    )
    with pytest.raises(FormatError, match="the events are damaged"):
        taken(views)
    far = np.array([0, 9, 3], np.int32)
    buffers = [None, pa.py_buffer(far), pa.py_buffer(b"abc")]
    with pytest.raises(FormatError, match="the events are damaged"):
        taken(pa.Array.from_buffers(pa.string(), 2, buffers))


def test_simple_kinds_are_those_of_arrow():
    """A decimal is a double, a time of day a duration."""
    fields = [pa.field("a", pa.decimal32(5, 1)), pa.field("b", pa.time64("ns"))]
    schema = arrow_schema.from_arrow(pa.schema(fields))
    assert [field.type.kind for field in schema.fields] == [Kind.DOUBLE, Kind.DURATION]
